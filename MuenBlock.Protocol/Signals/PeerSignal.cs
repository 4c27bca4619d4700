using System.Diagnostics;
using System.Runtime.CompilerServices;
using MuenBlock.IoUring;
using MuenBlock.Protocol.Channels;

namespace MuenBlock.Protocol.Signals;

/// <summary>
/// How the thread of a connection sleeps, and how it wakes its peer (muenblock, section 7).
/// <para>The sleeper:</para>
/// <list type="number">
/// <item>stores a new sequence number as the hint of the channel that it writes;</item>
/// <item>full fence;</item>
/// <item>looks once more at wc and epoch of the channel that it reads;</item>
/// <item>waits, through its ring, on everything at once: disk or block device, a stop signal, and the futex of that wc.</item>
/// </list>
/// <para>The waker:</para>
/// <list type="number">
/// <item>stores wc;</item>
/// <item>full fence: the two fences make sure that either the sleeper sees the packets or the waker sees the hint;</item>
/// <item>reads the hint; a value that it has not woken for yet gets one wake, as an entry of the ring before all others.</item>
/// </list>
/// A peer that was not agreed to wake us by futex is polled: the same sleep, cut short by a time-out.
/// </summary>
/// <typeparam name="TIn">The packet of the channel that is read.</typeparam>
/// <typeparam name="TOut">The packet of the channel that is written.</typeparam>
public sealed unsafe class PeerSignal<TIn, TOut>
    where TIn : unmanaged
    where TOut : unmanaged
{
    /// <summary>The user data of the futex wait's completion.</summary>
    public const ulong WaitCompletion = ulong.MaxValue;

    /// <summary>The user data of a wake that failed; one that succeeds has no completion.</summary>
    public const ulong WakeCompletion = ulong.MaxValue - 1;

    // A wake cannot be lost between two ends that keep the protocol. A peer that was replaced by one that knows no futex
    // writes without waking: it is found after this long, and one wake-up a second costs nothing.
    private const long HeartbeatNanoseconds = 1_000_000_000;

    // Polling starts at about the cost of a sleep and a wake-up, doubles while nothing comes, and ends where it costs 0.1 % of a CPU.
    private const long PollFirstNanoseconds = 20_000;
    private const long PollLastNanoseconds = 5_000_000;

    // A failed spin halves the next one; below an eighth it is given up, and tried again after this many sleeps.
    private const int SpinRetry = 32;

    private readonly Ring _ring;
    private readonly ChannelReader<TIn> _incoming;
    private readonly ChannelWriter<TOut> _outgoing;
    private readonly bool _futexWait;
    private readonly bool _futexWake;
    private readonly long _spinTicks;
    private long _spinBudget;
    private int _spinsSkipped;
    private ulong _sequence;
    private ulong _wokenFor;
    private long _pollNanoseconds = PollFirstNanoseconds;
    private bool _armed;

    /// <summary>Creates the signal of one connection.</summary>
    /// <param name="ring">The connection thread's ring.</param>
    /// <param name="incoming">The channel that is read.</param>
    /// <param name="outgoing">The channel that is written.</param>
    /// <param name="mode">Whether futexes may be used to sleep.</param>
    /// <param name="spin">How long at most to look for work before sleeping, while few I/Os are in flight; zero for not at all.</param>
    public PeerSignal(Ring ring, ChannelReader<TIn> incoming, ChannelWriter<TOut> outgoing, WaitMode mode, TimeSpan spin)
    {
        ArgumentNullException.ThrowIfNull(ring);
        ArgumentNullException.ThrowIfNull(incoming);
        ArgumentNullException.ThrowIfNull(outgoing);
        _ring = ring;
        _incoming = incoming;
        _outgoing = outgoing;
        _futexWait = mode == WaitMode.Auto && ring.Supports(Operation.FutexWait);
        _futexWake = ring.Supports(Operation.FutexWake);
        _spinTicks = (long)(spin.TotalSeconds * Stopwatch.Frequency);
        _spinBudget = _spinTicks;
    }

    /// <summary>Whether the peer agreed to wake this end by futex. Until then it is polled.</summary>
    public bool PeerWakes { get; set; }

    /// <summary>Whether this end sleeps by futex, if its peer wakes it.</summary>
    public bool CanSleep => _futexWait;

    /// <summary>Sleeps so far.</summary>
    public ulong Sleeps { get; private set; }

    /// <summary>Wakes sent so far.</summary>
    public ulong Wakes { get; private set; }

    /// <summary>Publishes what was composed and wakes the peer if it announced a sleep that it was not woken from yet.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Publish()
    {
        _outgoing.Publish();

        // Store of wc before load of the hint. Pairs with the fence between the peer's hint and its last look at wc.
        Interlocked.MemoryBarrier();
        ulong hint = Volatile.Read(ref _incoming.Header->Hint);
        if (hint != 0 && hint != _wokenFor) Wake(hint);
    }

    /// <summary>Begins a new epoch of the outgoing channel and wakes the peer, whatever it announced.</summary>
    public void Initialise()
    {
        _outgoing.Initialise(Epoch.New());
        _wokenFor = 0;
        Futex.WakeAll(ChannelHeader.Futex(_outgoing.Header));
    }

    /// <summary>Ends the epoch of the outgoing channel and wakes the peer, so that it sees it.</summary>
    public void Deactivate()
    {
        _outgoing.Deactivate();
        Futex.WakeAll(ChannelHeader.Futex(_outgoing.Header));
    }

    /// <summary>Takes note of a completion with one of the user data above.</summary>
    /// <param name="completion">The completion.</param>
    public void Complete(in Completion completion)
    {
        if (completion.UserData == WaitCompletion) _armed = false;
    }

    /// <summary>
    /// Submits what is queued and waits until the ring has a completion or, if the peer is expected to write, the channel has news.
    /// May return early for no reason: the caller looks at everything again.
    /// </summary>
    /// <param name="expectPeer">Whether the peer may write. If not, nothing is announced and its wakes are not waited for.</param>
    /// <param name="spin">Whether so little is in flight that looking for a while pays.</param>
    /// <param name="longestNanoseconds">The longest that it may take; -1 for no limit.</param>
    public void Sleep(bool expectPeer, bool spin, long longestNanoseconds = -1)
    {
        if (spin && SpinIsDue())
        {
            if (_ring.Queued > 0)
            {
                // The caller looks at what may have completed at once, and then comes back with nothing queued.
                _ = _ring.Enter();
                return;
            }

            if (Spin(expectPeer)) return;
        }

        Sleeps++;
        if (!expectPeer)
        {
            _ = _ring.Enter(1, longestNanoseconds);
            return;
        }

        // The value to sleep on is loaded before the last look: a wc that changed in between fails the wait at once.
        uint expected = Volatile.Read(ref *ChannelHeader.Futex(_incoming.Header));
        Volatile.Write(ref _outgoing.Header->Hint, ++_sequence);

        // Store of the hint before loads of wc and epoch. Pairs with the fence between the peer's wc and its look at the hint.
        Interlocked.MemoryBarrier();
        if (_incoming.HasNews)
        {
            _pollNanoseconds = PollFirstNanoseconds;
            if (_ring.Queued > 0) _ = _ring.Enter();
        }
        else
        {
            if (_futexWait && !_armed)
            {
                ref SubmissionEntry entry = ref _ring.NextEntry();
                entry.PrepareFutexWait(ChannelHeader.Futex(_incoming.Header), expected);
                entry.UserData = WaitCompletion;
                _armed = true;
            }

            // A wake covers packets only; an inactive peer's new epoch may be announced just before the wait begins.
            bool wakes = _futexWait && PeerWakes && _incoming.Synchronised;
            long longest = wakes ? HeartbeatNanoseconds : _pollNanoseconds;
            _ = _ring.Enter(1, longestNanoseconds >= 0 ? Math.Min(longest, longestNanoseconds) : longest);
            _pollNanoseconds = _incoming.HasNews ? PollFirstNanoseconds : Math.Min(_pollNanoseconds * 2, PollLastNanoseconds);
        }

        Volatile.Write(ref _outgoing.Header->Hint, 0);
    }

    private bool SpinIsDue()
    {
        if (_spinBudget != 0 || _spinTicks == 0) return _spinBudget != 0;
        if (++_spinsSkipped < SpinRetry) return false;
        _spinsSkipped = 0;
        _spinBudget = _spinTicks;
        return true;
    }

    private bool Spin(bool expectPeer)
    {
        long start = Stopwatch.GetTimestamp();
        do
        {
            for (int i = 0; i < 8; i++)
            {
                if (_ring.HasNews || (expectPeer && _incoming.HasNews))
                {
                    _spinBudget = _spinTicks;
                    return true;
                }

                Thread.SpinWait(1);
            }
        }
        while (Stopwatch.GetTimestamp() - start < _spinBudget);
        _spinBudget = _spinBudget / 2 < _spinTicks / 8 ? 0 : _spinBudget / 2;
        return false;
    }

    private void Wake(ulong hint)
    {
        _wokenFor = hint;
        Wakes++;
        if (!_futexWake)
        {
            Futex.WakeAll(ChannelHeader.Futex(_outgoing.Header));
            return;
        }

        ref SubmissionEntry entry = ref _ring.NextEntry();
        entry.PrepareFutexWake(ChannelHeader.Futex(_outgoing.Header), 1);
        entry.Flags = EntryFlags.SkipSuccess;
        entry.UserData = WakeCompletion;
    }
}
