using MuenBlock.Backend.Disks;
using MuenBlock.IoUring;

namespace MuenBlock.Backend.Serving;

/// <summary>Sends I/O to the disks as entries of the connection's ring: registered files, and the shared buffer as registered memory.</summary>
/// <param name="ring">The ring; its registered file of a device is the one with the device's id.</param>
/// <param name="disks">The disks, by device id.</param>
/// <param name="buffer">The first byte of the shared buffer.</param>
/// <param name="registered">Whether the buffer is registered with the ring, as its buffer 0.</param>
internal readonly unsafe struct RingDisks(Ring ring, Disk[] disks, byte* buffer, bool registered) : IDiskQueue
{
    private const uint BlockCommandDiscard = 0x1200; // BLOCK_URING_CMD_DISCARD = _IO(0x12, 0), linux/blkdev.h
    private const int FallocateKeepSize = 1; // linux/falloc.h
    private const int FallocatePunchHole = 2;

    /// <inheritdoc/>
    public void Read(uint slot, int device, ulong offset, uint length, ulong bufferOffset)
    {
        ref SubmissionEntry entry = ref ring.NextEntry();
        if (registered) entry.PrepareReadFixed(device, buffer + bufferOffset, length, offset, 0);
        else entry.PrepareRead(device, buffer + bufferOffset, length, offset);
        Finish(ref entry, slot);
    }

    /// <inheritdoc/>
    public void Write(uint slot, int device, ulong offset, uint length, ulong bufferOffset)
    {
        ref SubmissionEntry entry = ref ring.NextEntry();
        if (registered) entry.PrepareWriteFixed(device, buffer + bufferOffset, length, offset, 0);
        else entry.PrepareWrite(device, buffer + bufferOffset, length, offset);
        Finish(ref entry, slot);
    }

    /// <inheritdoc/>
    public void Discard(uint slot, int device, ulong offset, ulong length)
    {
        ref SubmissionEntry entry = ref ring.NextEntry();
        if (disks[device].Discard == DiscardMethod.Command)
        {
            entry.PrepareCommand(device, BlockCommandDiscard);
            entry.Address = offset;
            entry.Address3 = length;
        }
        else
        {
            entry.PrepareAllocate(device, FallocateKeepSize | FallocatePunchHole, offset, length);
        }

        Finish(ref entry, slot);
    }

    /// <inheritdoc/>
    public bool FallBackToOtherDiscard(int device)
    {
        if (disks[device].Discard != DiscardMethod.Command) return false;
        disks[device].Discard = DiscardMethod.PunchHole;
        return true;
    }

    /// <inheritdoc/>
    public void Flush(uint slot, int device)
    {
        ref SubmissionEntry entry = ref ring.NextEntry();
        entry.PrepareSync(device, dataOnly: true);
        Finish(ref entry, slot);
    }

    private static void Finish(ref SubmissionEntry entry, uint slot)
    {
        entry.Flags = EntryFlags.FixedFile;
        entry.UserData = slot;
    }
}
