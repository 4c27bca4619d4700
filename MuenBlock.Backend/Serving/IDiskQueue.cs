using MuenBlock.Backend.Disks;
using MuenBlock.Protocol.Messages;

namespace MuenBlock.Backend.Serving;

/// <summary>
/// Where a serving machine sends I/O. Each call starts one operation that completes later through
/// <see cref="ServingMachine{TDisks,TResponses}.Complete"/> with the same slot. All arguments were validated.
/// </summary>
internal interface IDiskQueue
{
    /// <summary>Disk to buffer. Offsets and length in bytes. What came of it is called for by <see cref="Deliver"/>.</summary>
    void Read(uint slot, int device, ulong offset, uint length, ulong bufferOffset);

    /// <summary>So much of a read has completed: from now on it lies in the shared buffer.</summary>
    void Deliver(ulong bufferOffset, uint length);

    /// <summary>Buffer to disk.</summary>
    void Write(uint slot, int device, ulong offset, uint length, ulong bufferOffset);

    /// <summary>Tells the disk that a range is no longer needed.</summary>
    void Discard(uint slot, int device, ulong offset, ulong length);

    /// <summary>The kernel does not know the way in which a discard was sent to a device, which may be one of several that were under way.</summary>
    /// <returns>Whether there is another way, which all discards take from now on. If not, the device will never discard.</returns>
    bool FallBackToOtherDiscard(int device);

    /// <summary>SMART data to buffer: <see cref="SmartCommands.PageSize"/> bytes. The result is a <see cref="SmartStatus"/>.</summary>
    void ReadSmart(uint slot, int device, ulong bufferOffset);

    /// <summary>
    /// A write ended for lack of space. That means something only while the place is on the device: behind the end of one that has vanished
    /// the kernel says the same (blkdev_write_iter, block/fops.c).
    /// </summary>
    /// <returns>Whether the device ends before the end of the write.</returns>
    bool EndsBefore(int device, ulong end);

    /// <summary>Makes durable what has completed before. What came of it is called for by <see cref="EndFlush"/>.</summary>
    void Flush(uint slot, int device);

    /// <summary>A flush has ended.</summary>
    /// <param name="device">The device.</param>
    /// <param name="result">0, or a negative errno.</param>
    /// <param name="isAnswered">Whether it will be answered; not if its session is over.</param>
    /// <returns>What is to be told: a failure also where an earlier flush, on any connection, has lost writes that this one knows nothing of.</returns>
    int EndFlush(int device, int result, bool isAnswered);
}
