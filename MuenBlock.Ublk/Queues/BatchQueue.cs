using System.Runtime.CompilerServices;
using MuenBlock.IoUring;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Queues;

/// <summary>
/// A hardware queue whose tags come and go in batches (UBLK_F_BATCH_IO):
/// <list type="number">
/// <item>one command offers all tags, with the addresses of their slots (PREP_IO_CMDS);</item>
/// <item>one command that stays armed tells of the tags of new requests, in a buffer that the kernel picks (FETCH_IO_CMDS);</item>
/// <item>one command a round gives back the results of all tags that have ended (COMMIT_IO_CMDS).</item>
/// </list>
/// Offering and committing are done while they are submitted, so they complete before anything that follows from them.
/// When the device ends the armed command does, and the queue has ended once every tag that was told of is committed.
/// </summary>
internal sealed unsafe class BatchQueue : IDisposable
{
    // The driver tells of 128 tags at a time at most (MAX_NR_TAG, drivers/block/ublk_drv.c).
    private const uint BufferBytes = 128 * sizeof(ushort);

    // User data: above that of slots, below that of the ring's other completions.
    private const ulong Mark = 1ul << 32;
    private const int OperationShift = 16;
    private const ulong IndexMask = (1ul << OperationShift) - 1;
    private const int Enobufs = 105; // asm-generic/errno.h

    private readonly Ring _ring;
    private readonly DeviceQueue _queue;
    private readonly ProvidedBuffers _buffers;
    private readonly CommitBatch _commits;
    private int _withServer;
    private bool _fetchEnded;

    /// <summary>Makes the memory that the queue needs.</summary>
    /// <param name="ring">The connection's ring.</param>
    /// <param name="queue">The queue.</param>
    /// <exception cref="ProgramException">The ring takes no buffers.</exception>
    public BatchQueue(Ring ring, DeviceQueue queue)
    {
        _ring = ring;
        _queue = queue;

        // A buffer for each tag: there is always one left, as no tag is told of twice before it is committed.
        _buffers = ProvidedBuffers.TryRegister(ring, (ushort)queue.Index, queue.Depth, BufferBytes, out int error)
            ?? throw new ProgramException(ExitCode.Environment, $"cannot provide io_uring with buffers for /dev/ublkc{queue.Id}: {PosixFile.Describe(-error)}: add the device with --batch off");
        _commits = new CommitBatch(queue.Depth);
    }

    private enum Operation
    {
        Prepare,
        Fetch,
        Commit,
    }

    /// <summary>Whether the driver gives this queue nothing more, and has got back everything that it gave.</summary>
    public bool Ended => _fetchEnded && _withServer == 0;

    /// <summary>Whether results wait to be sent.</summary>
    public bool IsDue => _commits.IsDue;

    /// <summary>Whether no result waits, is under way or has to be sent again.</summary>
    public bool IsEmpty => _commits.IsEmpty;

    /// <summary>The place among those that are served of the device that a completion belongs to.</summary>
    /// <param name="userData">Its user data.</param>
    public static int DeviceOf(ulong userData) => (int)(userData & IndexMask);

    /// <summary>Adds a tag's result, or before <see cref="Begin"/> the tag itself.</summary>
    /// <param name="tag">The tag.</param>
    /// <param name="result">Its result.</param>
    /// <param name="address">Where the driver copies to and from in its next request.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add(ushort tag, int result, ulong address) => _commits.Add(tag, result, address);

    /// <summary>Offers the tags that were added, and asks to be told of requests.</summary>
    /// <param name="file">The device's file.</param>
    /// <param name="flags">How the entry names it.</param>
    public void Begin(int file, EntryFlags flags)
    {
        SendElements(file, flags, UblkCommands.PrepareBatch, Operation.Prepare);
        Fetch(file, flags);
    }

    /// <summary>Sends the results that wait.</summary>
    /// <param name="file">The device's file.</param>
    /// <param name="flags">How the entry names it.</param>
    public void Commit(int file, EntryFlags flags) => SendElements(file, flags, UblkCommands.CommitBatch, Operation.Commit);

    /// <summary>The tags of new requests that a completion tells of; none if it tells of something else.</summary>
    /// <param name="completion">The completion. Its buffer is the kernel's again after <see cref="Complete"/>.</param>
    public ReadOnlySpan<ushort> Tags(in Completion completion) =>
        (completion.Flags & CompletionFlags.Buffer) == 0 ? [] : new ReadOnlySpan<ushort>(_buffers[completion.BufferId], Math.Clamp(completion.Result, 0, (int)BufferBytes) / sizeof(ushort));

    /// <summary>Takes note of a completion, whose tags were looked at.</summary>
    /// <param name="completion">The completion.</param>
    /// <param name="lost">A negative errno if the driver refused something, so that tags are lost to this server; else 0.</param>
    /// <returns>Whether <see cref="Fetch"/> is due.</returns>
    public bool Complete(in Completion completion, out int lost)
    {
        lost = 0;
        switch ((Operation)((completion.UserData - Mark) >> OperationShift))
        {
            case Operation.Fetch:
                if ((completion.Flags & CompletionFlags.Buffer) != 0)
                {
                    _withServer += Tags(completion).Length;
                    _buffers.Return(completion.BufferId);
                }

                if (completion.More) return false;
                if (completion.Result is >= 0 or -Enobufs) return true;
                _fetchEnded = true;
                lost = completion.Result == UblkLimits.ResultAborted ? 0 : completion.Result;
                return false;
            case Operation.Prepare:
                // All or nothing; the driver refuses the command that tells of requests as well then.
                _ = _commits.Complete(_queue.Depth * sizeof(BatchElement), out _);
                lost = Math.Min(completion.Result, 0);
                return false;
            default:
                (int taken, bool refused) = _commits.Complete(completion.Result, out _);
                _withServer -= taken + (refused ? 1 : 0);
                lost = refused ? Math.Min(completion.Result, -1) : 0;
                return false;
        }
    }

    /// <summary>Asks to be told of requests.</summary>
    /// <param name="file">The device's file.</param>
    /// <param name="flags">How the entry names it.</param>
    public void Fetch(int file, EntryFlags flags)
    {
        ref SubmissionEntry entry = ref _ring.NextEntry();
        entry.PrepareCommand(file, UblkCommands.FetchBatch);
        entry.CommandFlags = CommandFlags.Multishot;
        entry.BufferGroup = (ushort)_queue.Index;
        entry.Flags = flags | EntryFlags.BufferSelect;
        entry.UserData = UserData(Operation.Fetch);
        entry.Command<BatchIo>() = new BatchIo { QueueId = _queue.Number, ElementBytes = sizeof(ushort) };
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        // Without the group the driver can tell of nothing more, should its command still be armed.
        _buffers.Dispose();
        _commits.Dispose();
    }

    private void SendElements(int file, EntryFlags flags, uint command, Operation operation)
    {
        BatchElement* elements = _commits.Send(out int count);
        ref SubmissionEntry entry = ref _ring.NextEntry();
        entry.PrepareCommand(file, command);
        entry.Address = (ulong)elements;
        entry.Length = (uint)(count * sizeof(BatchElement));
        entry.Flags = flags;
        entry.UserData = UserData(operation);
        entry.Command<BatchIo>() = new BatchIo { QueueId = _queue.Number, Elements = (ushort)count, ElementBytes = (byte)sizeof(BatchElement), Flags = BatchFlags.BufferAddress };
    }

    private ulong UserData(Operation operation) => Mark + ((ulong)operation << OperationShift) + (ulong)_queue.Index;
}
