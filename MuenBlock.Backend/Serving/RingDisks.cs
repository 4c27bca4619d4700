using System.Runtime.CompilerServices;
using MuenBlock.Backend.Disks;
using MuenBlock.IoUring;
using MuenBlock.Protocol.Regions;

namespace MuenBlock.Backend.Serving;

/// <summary>Sends I/O to the disks as entries of the connection's ring: registered files, and memory that is registered where possible.</summary>
/// <param name="ring">The ring; its registered file of a device is the one with the device's id.</param>
/// <param name="polled">Takes the reads and writes in its place; null where the disks are not polled.</param>
/// <param name="disks">The disks, by device id.</param>
/// <param name="memory">Where they read to and write from.</param>
/// <param name="smart">Who reads SMART data; null if no disk has any.</param>
internal readonly unsafe struct RingDisks(Ring ring, PolledRing? polled, Disk[] disks, DiskMemory memory, SmartThread? smart) : IDiskQueue
{
    private const uint BlockCommandDiscard = 0x1200; // BLOCK_URING_CMD_DISCARD = _IO(0x12, 0), linux/blkdev.h
    private const int FallocateKeepSize = 1; // linux/falloc.h
    private const int FallocatePunchHole = 2;

    private readonly byte* _memory = memory.Address;
    private readonly BounceBuffer? _bounce = memory.Bounce;

    // Falls back when the kernel turns out to lack the better way; each connection finds that out for itself.
    private readonly DiscardMethod[] _discards = [.. disks.Select(disk => disk.Discard)];

    /// <inheritdoc/>
    public void Read(uint slot, int device, ulong offset, uint length, ulong bufferOffset)
    {
        ref SubmissionEntry entry = ref NextTransfer();
        if (memory.IsRegistered) entry.PrepareReadFixed(device, _memory + bufferOffset, length, offset, 0);
        else entry.PrepareRead(device, _memory + bufferOffset, length, offset);
        Finish(ref entry, slot);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Deliver(ulong bufferOffset, uint length) => _bounce?.ToRegion(bufferOffset, length);

    /// <inheritdoc/>
    public void Write(uint slot, int device, ulong offset, uint length, ulong bufferOffset)
    {
        _bounce?.FromRegion(bufferOffset, length);
        ref SubmissionEntry entry = ref NextTransfer();
        if (memory.IsRegistered) entry.PrepareWriteFixed(device, _memory + bufferOffset, length, offset, 0);
        else entry.PrepareWrite(device, _memory + bufferOffset, length, offset);
        Finish(ref entry, slot);
    }

    /// <inheritdoc/>
    public void Discard(uint slot, int device, ulong offset, ulong length)
    {
        ref SubmissionEntry entry = ref ring.NextEntry();
        if (_discards[device] == DiscardMethod.Command)
        {
            entry.PrepareCommand(device, BlockCommandDiscard);
            entry.Address = offset;
            entry.Address3 = length;
            Finish(ref entry, slot);
            // Where it might wait, it fails on a disk that cannot say that it would have to (EOPNOTSUPP): on many of device-mapper's.
            entry.Flags |= EntryFlags.Async;
        }
        else
        {
            entry.PrepareAllocate(device, FallocateKeepSize | FallocatePunchHole, offset, length);
            Finish(ref entry, slot);
        }
    }

    /// <inheritdoc/>
    public bool FallBackToOtherDiscard(int device)
    {
        if (disks[device].Discard != DiscardMethod.Command) return false;
        _discards[device] = DiscardMethod.PunchHole;
        return true;
    }

    /// <inheritdoc/>
    public void ReadSmart(uint slot, int device, ulong bufferOffset) => smart!.Ask(slot, device, bufferOffset);

    /// <inheritdoc/>
    public bool EndsBefore(int device, ulong end)
    {
        // An image that ends early is a hole in it, or a file system that is full: no disk has vanished.
        if (disks[device].DeviceNumber is null) return false;
        long size = BlockDeviceQueries.Size(disks[device].File);
        return size >= 0 && (ulong)size < end;
    }

    /// <inheritdoc/>
    public void Flush(uint slot, int device)
    {
        ref SubmissionEntry entry = ref ring.NextEntry();
        entry.PrepareSync(device, dataOnly: true);
        Finish(ref entry, slot);
    }

    /// <inheritdoc/>
    public int EndFlush(int device, int result, bool isAnswered) => disks[device].EndFlush(result, isAnswered);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ref SubmissionEntry NextTransfer() => ref polled is null ? ref ring.NextEntry() : ref polled.NextEntry();

    private static void Finish(ref SubmissionEntry entry, uint slot)
    {
        entry.Flags = EntryFlags.FixedFile;
        entry.UserData = slot;
    }
}
