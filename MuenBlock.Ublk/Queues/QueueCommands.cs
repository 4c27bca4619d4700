using System.Runtime.CompilerServices;
using MuenBlock.IoUring;
using MuenBlock.Protocol.Regions;
using MuenBlock.Ublk.Control;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Queues;

/// <summary>
/// Sends a connection's ublk commands as entries of its ring: fetching a tag, and committing its result together with fetching it again.
/// The thread that fetches a tag must be the one that commits it (ublk.rst); the connection's thread does both. Of queues whose tags
/// come in batches the results gather in their <see cref="BatchQueue"/> until <see cref="Flush"/>.
/// </summary>
/// <param name="ring">The ring.</param>
/// <param name="number">The number of the connection's queue, the same on every device.</param>
/// <param name="files">The character device of each device, by the device's index.</param>
/// <param name="layout">The slots.</param>
/// <param name="queues">The queue of each device, by the device's index.</param>
/// <param name="buffer">The shared buffer.</param>
/// <param name="bounce">What stands in for it where the driver cannot reach it; else null.</param>
/// <param name="batches">The queues whose results gather.</param>
/// <param name="elsewhere">The first byte of private memory that is cut like the buffer; null with a bounce buffer, which is such memory itself.</param>
internal readonly unsafe struct QueueCommands(
    Ring ring, ushort number, DeviceFiles files, BufferLayout layout, DeviceQueue[] queues, Region buffer, BounceBuffer? bounce, GatheringQueues batches, byte* elsewhere) : IBlockCompletions
{
    private readonly byte* _memory = bounce is null ? buffer.Memory : bounce.Memory;

    /// <summary>Offers a queue's tags to the driver for the first time.</summary>
    /// <param name="queue">The queue; the ring knows its file.</param>
    public void Begin(DeviceQueue queue)
    {
        for (int tag = 0; tag < queue.Depth; tag++) Send(UblkCommands.FetchRequest, layout.Slot(queue.Index, tag), 0, _memory);
        queue.Batch?.Begin(files[(uint)queue.Index], files.Flags);
    }

    /// <summary>Asks a queue whose tags come in batches to tell of requests again.</summary>
    /// <param name="queue">The queue.</param>
    public void FetchAgain(DeviceQueue queue) => queue.Batch!.Fetch(files[(uint)queue.Index], files.Flags);

    /// <summary>Sends the results that have gathered.</summary>
    /// <returns>How many commands that takes, each of which completes as soon as it is submitted.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int Flush() => batches is null || batches.Count == 0 ? 0 : batches.Flush(files);

    /// <summary>The driver has copied a write's data: from now on the server finds it in the shared buffer.</summary>
    /// <param name="slot">The tag's slot.</param>
    /// <param name="length">How much, in bytes.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void HandOver(uint slot, uint length) => bounce?.ToRegion((ulong)slot * layout.SlotSize, length);

    /// <inheritdoc/>
    public void Complete(uint slot, int result)
    {
        if (bounce is not null && result > 0 && IsRead(slot)) bounce.FromRegion((ulong)slot * layout.SlotSize, (uint)result);
        Send(UblkCommands.CommitAndFetchRequest, slot, result, _memory);
    }

    /// <inheritdoc/>
    public void Abandon(uint slot, int errno) => Send(UblkCommands.CommitAndFetchRequest, slot, errno, bounce is null ? elsewhere : _memory);

    /// <inheritdoc/>
    public void Restore(uint slot, uint length)
    {
        if (bounce is not null)
        {
            bounce.ToRegion((ulong)slot * layout.SlotSize, length);
            return;
        }

        nuint offset = (nuint)slot * layout.SlotSize;
        int whole = (int)Math.Min(length, layout.SlotSize);
        new ReadOnlySpan<byte>(elsewhere + offset, whole).CopyTo(new Span<byte>(_memory + offset, whole));
    }

    private bool IsRead(uint slot)
    {
        int index = (int)(slot / (uint)layout.Depth);
        return queues[index][(int)slot - (index * layout.Depth)].Operation == BlockOperation.Read;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Send(uint command, uint slot, int result, byte* memory)
    {
        uint depth = (uint)layout.Depth;
        uint index = slot / depth;
        ulong address = (ulong)(memory + ((ulong)slot * layout.SlotSize));
        if (queues[index].Batch is { } batch)
        {
            batch.Add((ushort)(slot - (index * depth)), result, address);
            batches.Note((int)index);
            return;
        }

        ref SubmissionEntry entry = ref ring.NextEntry();
        entry.PrepareCommand(files[index], command);
        entry.Flags = files.Flags;
        entry.UserData = slot;
        entry.Command<IoCommand>() = new IoCommand
        {
            QueueId = number,
            Tag = (ushort)(slot - (index * depth)),
            Result = result,

            // Where the driver copies to and from. It must be given with every command, and not be 0.
            Address = address,
        };
    }
}
