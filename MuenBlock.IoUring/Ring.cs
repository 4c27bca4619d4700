using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using static System.Runtime.CompilerServices.MethodImplOptions;
using static Tmds.Linux.LibC;

namespace MuenBlock.IoUring;

/// <summary>
/// An io_uring of one thread, over the raw system calls (io_uring_setup(2), io_uring_enter(2)).
/// <para>To submit:</para>
/// <list type="number">
/// <item><see cref="NextEntry"/> hands out a zeroed entry; prepare it before the next call of NextEntry or Enter;</item>
/// <item><see cref="Enter"/> publishes the tail of the submission queue and lets the kernel take everything up to it.</item>
/// </list>
/// <para>To collect:</para>
/// <list type="number">
/// <item><see cref="TryTake"/> copies completions, as long as there are any;</item>
/// <item><see cref="Release"/> gives their places back to the kernel, once for the batch.</item>
/// </list>
/// Nothing here allocates, locks or throws unless the ring is broken. The kernel moves the submission queue's head inside
/// io_uring_enter, on this thread; with <see cref="RingOptions.SubmissionThreadIdle"/> at any time, once the tail is published.
/// </summary>
public sealed unsafe partial class Ring : IDisposable
{
    // When the kernel has no memory to take even one entry, it is asked again after a pause: about four seconds in all.
    private const int RoomAttempts = 4096;

    private readonly RingMemory _memory;

    // The managed id of the one thread that may use the ring; 0 if several may take turns.
    private readonly int _owner;

    private readonly int _entryShift;
    private readonly uint _entryMask;
    private readonly uint _completionMask;
    private readonly bool _threadSubmits;

    // Places in the memory that is shared with the kernel. All null once the ring is disposed of.
    private byte* _entries;
    private Completion* _completions;
    private uint* _submissionHead;
    private uint* _submissionTail;
    private uint* _completionHead;
    private uint* _completionTail;
    private SubmissionQueueFlags* _submissionFlags;

    // Entries are handed out up to _tail, and the kernel may take them up to _published; it took them up to _head, when it was last looked.
    private uint _tail;
    private uint _published;
    private uint _head;
    private uint _entryCount;

    // Completions are copied up to _taken, and there were some up to _ready, when it was last looked.
    private uint _taken;
    private uint _ready;

    // What io_uring_enter is called with: the descriptor, or its registered index and the flag that says so.
    private int _enterDescriptor;
    private EnterFlags _enterFlags = EnterFlags.GetEvents;
    private ulong _enters;

    private Ring(RingMemory memory, bool singleIssuer)
    {
        _memory = memory;
        _owner = singleIssuer ? Environment.CurrentManagedThreadId : 0;
        _enterDescriptor = memory.Descriptor;
        _entryShift = memory.Setup.HasFlag(RingSetup.LargeEntries) ? RingMemory.EntryShift + 1 : RingMemory.EntryShift;
        _entryCount = memory.SubmissionEntries;
        _entryMask = memory.SubmissionEntries - 1;
        _completionMask = memory.CompletionEntries - 1;
        _threadSubmits = memory.Setup.HasFlag(RingSetup.SubmissionThread);
        _entries = memory.Entries;
        _completions = memory.Completions;
        _submissionHead = memory.SubmissionHead;
        _submissionTail = memory.SubmissionTail;
        _submissionFlags = memory.SubmissionFlags;
        _completionHead = memory.CompletionHead;
        _completionTail = memory.CompletionTail;
        _supported = Probe(memory.Descriptor);
    }

    /// <summary>The ring's descriptor. It belongs to the ring.</summary>
    public int FileDescriptor => _memory.Descriptor;

    /// <summary>The properties that the ring was created with.</summary>
    public RingSetup Setup => _memory.Setup;

    /// <summary>
    /// Whether a registered file that is replaced is let go of as soon as the last request with that file has ended. Kernels before
    /// 6.13 wait for every earlier request with any registered file of the ring, which may last for ever (io_uring/rsrc.c). The
    /// feature that is asked for came with 6.14, and stands for both.
    /// </summary>
    public bool ReleasesFilesOneByOne => _memory.Features.HasFlag(RingFeatures.IoAttributes);

    /// <summary>Submission entries, as rounded up by the kernel.</summary>
    public uint Entries => _memory.SubmissionEntries;

    /// <summary>Completion entries, as rounded up by the kernel.</summary>
    public uint CompletionEntries => _memory.CompletionEntries;

    /// <summary>Entries handed out and not yet submitted.</summary>
    public uint Queued => _tail - _published;

    /// <summary>Calls of io_uring_enter so far.</summary>
    public ulong Enters => _enters;

    /// <summary>Whether <see cref="Enter"/> or <see cref="TryTake"/> would find something: plain loads, no system call.</summary>
    public bool HasNews
    {
        // The acquire pairs with the kernel's release of the tail: a later TryTake sees the completions that it covers.
        [MethodImpl(AggressiveInlining)]
        get => Volatile.Read(ref *_completionTail) != _taken || HasDeferredWork;
    }

    /// <summary>
    /// Whether completions wait inside the kernel for the next <see cref="Enter"/>: a plain load, no system call. The kernel may set
    /// this again just after an Enter that took the very work it stands for; one more Enter then finds nothing and clears it.
    /// </summary>
    public bool HasDeferredWork
    {
        // Pairs with nothing: the kernel sets the flags after it queued the work, and the next Enter, which finds the work, is a
        // system call. Volatile so that a loop that spins on it looks again.
        [MethodImpl(AggressiveInlining)]
        get => (Volatile.Read(ref *(uint*)_submissionFlags)
            & (uint)(SubmissionQueueFlags.TaskRun | SubmissionQueueFlags.CompletionOverflow)) != 0;
    }

    /// <summary>
    /// Creates a ring of the best kind that the kernel knows. The calling thread becomes its owner: with
    /// <see cref="RingOptions.SingleIssuer"/> no other may use it.
    /// </summary>
    /// <param name="options">What the ring is to be like.</param>
    /// <returns>The ring.</returns>
    /// <exception cref="RingException">The kernel is too old, or io_uring is forbidden, or out of reach for another reason.</exception>
    public static Ring Create(RingOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        return Create(options, RingMemory.Ladder(options));
    }

    /// <summary>Creates a ring of the first of some kinds that the kernel knows.</summary>
    internal static Ring Create(RingOptions options, ReadOnlySpan<RingSetup> ladder)
    {
        const uint Most = RingOptions.MaximumEntries;
        (uint entries, uint completions) = (options.Entries, options.CompletionEntries);
        if (entries is 0 or > Most)
            throw new ArgumentException($"a ring has 1 to {Most} entries, not {entries}", nameof(options));
        if (options.SubmissionThreadIdle is { } idle && (idle < TimeSpan.FromMilliseconds(1) || idle > RingOptions.LongestIdle))
            throw new ArgumentException($"a submission thread sleeps after 1 to {RingOptions.LongestIdle.TotalMilliseconds} ms, not {idle.TotalMilliseconds}", nameof(options));
        if (completions != 0 && (completions < entries || completions > 2 * Most))
            throw new ArgumentException($"a ring of {entries} entries has {entries} to {2 * Most} completion entries, not {completions}", nameof(options));
        var ring = new Ring(RingMemory.Create(options, ladder), options.SingleIssuer);
        if (options.Operations is null) return ring;
        try
        {
            ring.Restrict(options.Operations);
            return ring;
        }
        catch
        {
            ring.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Hands out the next entry, zeroed. If the queue is full, what is queued is submitted first, without waiting, which ends a
    /// chain of linked entries there. The entry must be prepared before the next call of this method or of <see cref="Enter"/>.
    /// </summary>
    /// <returns>The entry in the queue.</returns>
    /// <exception cref="RingException">The ring is broken.</exception>
    [MethodImpl(AggressiveInlining)]
    public ref SubmissionEntry NextEntry()
    {
        if (_tail - _head >= _entryCount) MakeRoom();
        ref SubmissionEntry entry = ref *(SubmissionEntry*)(_entries + ((nuint)(_tail & _entryMask) << _entryShift));
        _tail++;
        entry = default;
        if (_entryShift != RingMemory.EntryShift) Unsafe.Add(ref entry, 1) = default;
        return ref entry;
    }

    /// <summary>
    /// Calls io_uring_enter once: submits all that is queued, lets the kernel work off deferred completions, and waits until there
    /// are completions to take. A signal, the time-out, or a kernel short of memory ends it early: nothing is lost, and what was
    /// not submitted stays queued. Completions that were taken are released.
    /// </summary>
    /// <param name="waitFor">How many completions to wait for, at most <see cref="CompletionEntries"/>; 0 not to wait.</param>
    /// <param name="timeoutNanoseconds">How long to wait for them at most; -1 for as long as it takes.</param>
    /// <returns>The number of entries submitted.</returns>
    /// <exception cref="RingException">The ring is broken, disposed of, or not this thread's.</exception>
    public uint Enter(uint waitFor = 0, long timeoutNanoseconds = -1) => EnterWith(waitFor, timeoutNanoseconds, default);

    private uint EnterWith(uint waitFor, long timeoutNanoseconds, EnterFlags extra)
    {
        // The kernel checks this too, but not on every kind of ring, and a registered descriptor is another ring on another thread.
        if (_owner != 0 && _owner != Environment.CurrentManagedThreadId) throw RingException.OnForeignThread();
        ObjectDisposedException.ThrowIf(_entries == null, this);

        // Release of the entries' contents with the tail. Pairs with the kernel's acquire load of it in io_submit_sqes.
        Volatile.Write(ref *_submissionTail, _tail);
        Release();
        uint submitted = _tail - _published;
        EnterFlags flags = _enterFlags | extra;
        if (_threadSubmits)
        {
            if (SubmissionThreadHasIt(waitFor, extra, ref flags)) return submitted;
        }
        else if (HasDeferredWork)
        {
            ClearTaskRun();
        }

        _enters++;
        long result;
        if (waitFor == 0 || timeoutNanoseconds < 0)
            result = Kernel.Enter(Kernel.EnterCall, _enterDescriptor, _tail - _head, waitFor, (uint)flags, null, 0);
        else
            result = EnterFor(waitFor, timeoutNanoseconds, flags);

        // Before anything else that could change errno.
        if (result < 0) Tolerate(Marshal.GetLastSystemError());

        // The kernel moved the head on this very thread, inside the call, or its thread has done with what lies before the head.
        uint head = Volatile.Read(ref *_submissionHead);
        if (!_threadSubmits)
        {
            submitted = head - _head;
            _published = head;
        }

        _head = head;
        return submitted;
    }

    /// <summary>Leaves the entries to the kernel's thread.</summary>
    /// <returns>Whether that is all: it is awake, and nothing is waited for.</returns>
    private bool SubmissionThreadHasIt(uint waitFor, EnterFlags extra, ref EnterFlags flags)
    {
        // Store of the tail before load of the flags. Pairs with the fence in io_sq_thread between its flag that it sleeps and
        // its last look at the tail: either it sees the entries, or its flag is seen here.
        Interlocked.MemoryBarrier();
        _published = _tail;
        _head = Volatile.Read(ref *_submissionHead);
        var queueFlags = (SubmissionQueueFlags)Volatile.Read(ref *(uint*)_submissionFlags);
        if ((queueFlags & SubmissionQueueFlags.ThreadSleeps) == 0)
            return waitFor == 0 && extra == 0 && (queueFlags & SubmissionQueueFlags.CompletionOverflow) == 0;
        flags |= EnterFlags.WakeSubmissionThread;
        return false;
    }

    /// <summary>Copies the next completion. Its place is given back by <see cref="Release"/>.</summary>
    /// <param name="completion">The completion.</param>
    /// <returns>False if there is none.</returns>
    [MethodImpl(AggressiveInlining)]
    public bool TryTake(out Completion completion)
    {
        if (_taken == _ready)
        {
            // Acquire of the completions with their tail. Pairs with the kernel's release store of it in io_commit_cqring.
            _ready = Volatile.Read(ref *_completionTail);
            if (_taken == _ready)
            {
                Unsafe.SkipInit(out completion);
                return false;
            }
        }

        completion = _completions[_taken & _completionMask];
        _taken++;
        return true;
    }

    /// <summary>Gives the places of all completions that were taken back to the kernel.</summary>
    [MethodImpl(AggressiveInlining)]
    public void Release() =>

        // Release: the copies are made before the kernel may overwrite their places. Pairs with the kernel's load of the head when
        // it looks for a free place (io_cqe_cache_refill), which depends on it.
        Volatile.Write(ref *_completionHead, _taken);

    /// <summary>
    /// Ends the ring. What is in flight is cancelled or completed by the kernel after this returns: memory that entries point to
    /// must stay for the process's life, or be known to be out of use. Disposing on the owner's thread also gives back the
    /// registered descriptor; otherwise it lives until that thread ends.
    /// </summary>
    public void Dispose()
    {
        if (_entries == null) return;
        if (_owner == Environment.CurrentManagedThreadId) UnregisterSelf();
        _entries = null;
        _completions = null;
        _submissionHead = _submissionTail = _completionHead = _completionTail = null;
        _submissionFlags = null;

        // NextEntry now takes its slow path, which finds the ring disposed of.
        _entryCount = 0;
        _memory.Dispose();
    }

    private static void Tolerate(int error)
    {
        // EINTR: a signal. ETIME: the time-out. EAGAIN: no memory to take an entry. EBUSY: no room for kept completions yet.
        if (error == EINTR || error == ETIME || error == EAGAIN || error == EBUSY) return;
        throw RingException.OnEntering(error);
    }

    private long EnterFor(uint waitFor, long timeoutNanoseconds, EnterFlags flags)
    {
        (long seconds, long rest) = long.DivRem(timeoutNanoseconds, 1_000_000_000);
        KernelTimespec time = new() { Seconds = seconds, Nanoseconds = rest };
        WaitArgument argument = new() { Timeout = &time };
        return Kernel.Enter(
            Kernel.EnterCall, _enterDescriptor, _tail - _head, waitFor, (uint)(flags | EnterFlags.ExtendedArgument), &argument, (nuint)sizeof(WaitArgument));
    }

    // The kernel queues deferred work first and sets the flag afterwards. If this thread works it off in between, the flag comes too
    // late, and the kernel, which clears it only when there is work, leaves it standing until there is some: a loop that takes it
    // for news would never sleep. So it is cleared here, where a call follows that works off all that any flag so far stood for.
    // The full fence of the clearing pairs with the kernel's atomic_or in io_req_local_work_add: work whose flag is lost is seen.
    private void ClearTaskRun() => Interlocked.And(ref *(uint*)_submissionFlags, ~(uint)SubmissionQueueFlags.TaskRun);

    [MethodImpl(NoInlining)]
    private void MakeRoom()
    {
        for (int attempt = 0; attempt < RoomAttempts; attempt++)
        {
            _ = EnterWith(0, -1, _threadSubmits ? EnterFlags.WaitForRoom : default);
            if (_tail - _head < _entryCount) return;
            Thread.Sleep(1);
        }

        throw RingException.OnEntering(EAGAIN);
    }
}
