using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;
using MuenBlock.IoUring;
using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Regions;
using static Tmds.Linux.LibC;

namespace MuenBlock.Protocol.Signals;

/// <summary>
/// How the thread of a connection sleeps, and how it wakes its peer (docs/wire-format.md, "Our extensions").
/// <para>The sleeper:</para>
/// <list type="number">
/// <item>stores a new sequence number as the hint of the channel that it writes;</item>
/// <item>full fence;</item>
/// <item>looks once more at wc and epoch of the channel that it reads;</item>
/// <item>waits, through its ring, on everything at once: disk or block device, a stop signal, and what the peer wakes it with: the
/// event of the channel that it reads, where that has one, else the futex of that wc.</item>
/// </list>
/// <para>The waker:</para>
/// <list type="number">
/// <item>stores wc;</item>
/// <item>full fence: the two fences make sure that either the sleeper sees the packets or the waker sees the hint;</item>
/// <item>reads the hint; a value that it has not woken for yet gets one wake: the event of the channel that it writes is triggered, or
/// the futex woken, by an entry of the ring: behind those that are queued already, so one publishes before queueing what may take long. A peer
/// that did not agree to give hints gets an event each time.</item>
/// </list>
/// Events are kept for whoever polls next, so one that is triggered just before the sleeper waits is not lost.
/// A peer that was not agreed to wake us in the way that we wait is polled: the same sleep, cut short by a time-out.
/// Before that sleep an end may look for a while (<see cref="SpinBudget"/>), or gather (<see cref="Gathers"/>).
/// </summary>
/// <typeparam name="TIn">The packet of the channel that is read.</typeparam>
/// <typeparam name="TOut">The packet of the channel that is written.</typeparam>
public sealed unsafe partial class PeerSignal<TIn, TOut>
    where TIn : unmanaged
    where TOut : unmanaged
{
    /// <summary>The user data of the completion that the peer's wake makes.</summary>
    public const ulong WaitCompletion = ulong.MaxValue;

    /// <summary>The user data of a wake that failed; one that succeeds has no completion.</summary>
    public const ulong WakeCompletion = ulong.MaxValue - 1;

    /// <summary>The user data of the completion that the heartbeat makes; the ring's owner may use whatever is below.</summary>
    public const ulong BeatCompletion = ulong.MaxValue - 2;

    // Polling starts at about the cost of a sleep and a wake-up, doubles while nothing comes, and ends where it costs 0.1 % of a CPU.
    private const long PollFirstNanoseconds = 20_000;
    private const long PollLastNanoseconds = 5_000_000;

    // Of a peer of ours: its ring, since an earlier sleep, and its thread, where it gathers. How many wait is the peer's choice, and waking takes time.
    private const uint MostWaiters = 2;

    // A turn of a peer or of an application is shorter, also where the CPU is emulated; a slice of one that only computes is longer.
    private readonly long _slice = Stopwatch.Frequency / 1_000;

    private readonly Ring _ring;
    private readonly ChannelReader<TIn> _incoming;
    private readonly ChannelWriter<TOut> _outgoing;
    private readonly SignalWays _ways;
    private readonly bool _ringWakes;
    private readonly SpinBudget _spin;
    private readonly Heartbeat _heartbeat = new();
    private readonly Way _bestWay;
    private Way _way;
    private bool _peerWakes;
    private bool _wakeUnasked;
    private long _lookDue;
    private ulong _sequence;
    private ulong _wokenFor;
    private long _pollNanoseconds = PollFirstNanoseconds;
    private bool _armed;

    /// <summary>Creates the signal of one connection.</summary>
    /// <param name="ring">The connection thread's ring.</param>
    /// <param name="incoming">The channel that is read.</param>
    /// <param name="outgoing">The channel that is written.</param>
    /// <param name="ways">How the two ends can wake each other.</param>
    /// <param name="mode">Whether the peer's wakes may be waited for.</param>
    /// <param name="spin">How long at most to look for work before sleeping, while few I/Os are in flight; zero for not at all.</param>
    public PeerSignal(Ring ring, ChannelReader<TIn> incoming, ChannelWriter<TOut> outgoing, SignalWays ways, WaitMode mode, TimeSpan spin)
    {
        ArgumentNullException.ThrowIfNull(ways);
        ArgumentNullException.ThrowIfNull(ring);
        ArgumentNullException.ThrowIfNull(incoming);
        ArgumentNullException.ThrowIfNull(outgoing);
        _ring = ring;
        _incoming = incoming;
        _outgoing = outgoing;
        _ways = ways;
        _ringWakes = ring.Supports(Operation.FutexWake);
        bool futex = ways.CanWaitByFutex && ring.Supports(Operation.FutexWait);
        _way = _bestWay = mode == WaitMode.Poll ? Way.Poll : ways.Event is not null ? Way.Event : futex ? Way.Futex : Way.Poll;
        Waiting = _way switch
        {
            Way.Event => $"waits for the event of {ways.Incoming}",
            Way.Futex => $"waits for {ways.Incoming} by futex",
            _ when mode == WaitMode.Poll => $"polls {ways.Incoming}, as it was told to",
            _ when ways.CanWaitByFutex => $"polls {ways.Incoming}, which has no event, on a kernel whose rings know no futex",
            _ => $"polls {ways.Incoming}, which has no event, and no pages for a futex",
        };
        Forget();
        _spin = new SpinBudget((long)(spin.TotalSeconds * Stopwatch.Frequency));
        Looking = spin > TimeSpan.Zero ? string.Create(CultureInfo.InvariantCulture, $"; looks for at most {spin.TotalMicroseconds:F0} us before it sleeps") : string.Empty;
    }

    private enum Way
    {
        Poll,
        Futex,
        Event,
    }

    /// <summary>How this end waits, in words: for a log line.</summary>
    public string Waiting { get; }

    /// <summary>How this end wakes its peer, in words.</summary>
    public string Waking =>
        _ways.Doorbell is { } bell ? $"wakes its peer by the event {bell.Path}"
        : _ways.CanWakeByFutex ? "wakes its peer by futex"
        : $"cannot wake its peer, which must poll, as {_ways.WhyNoDoorbell}";

    /// <summary>Whether and how long this end looks before it sleeps, in words, to follow the others; empty if not.</summary>
    public string Looking { get; }

    /// <summary>Takes note of what the peer can do, as far as that is known. What it did not agree to is not relied upon.</summary>
    /// <param name="peer">Its features; none until they were agreed on.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Agree(PeerFeatures peer)
    {
        _peerWakes = _way switch
        {
            Way.Event => (peer & PeerFeatures.Events) != 0,
            Way.Futex => (peer & PeerFeatures.Futex) != 0,
            _ => false,
        };
        _wakeUnasked = _ways.Doorbell is not null && (peer & PeerFeatures.Agrees) == 0;
    }

    /// <summary>
    /// Takes note that the peer is gone or began anew: nothing is agreed, and the numbers of its sleeps, which begin anew as well, may be
    /// ones that its predecessor was woken for.
    /// </summary>
    public void Forget()
    {
        _wokenFor = 0;
        Agree(PeerFeatures.None);
    }

    /// <summary>Sleeps so far.</summary>
    public ulong Sleeps { get; private set; }

    /// <summary>Wakes sent so far.</summary>
    public ulong Wakes { get; private set; }

    /// <summary>
    /// The number of the sleep that the peer has announced since the last <see cref="Publish"/>; 0 if it has not. Only one that lasts says that the
    /// peer has read everything: it announces first and looks then.
    /// </summary>
    public ulong LaterSleep
    {
        get
        {
            ulong hint = Volatile.Read(ref _incoming.Header->Hint);
            return hint == _wokenFor ? 0 : hint;
        }
    }

    /// <summary>Publishes what was composed and wakes the peer if it announced a sleep that it was not woken from yet.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Publish()
    {
        _outgoing.Publish();

        // Store of wc before load of the hint. Pairs with the fence between the peer's hint and its last look at wc.
        Interlocked.MemoryBarrier();
        ulong hint = Volatile.Read(ref _incoming.Header->Hint);
        if (hint != 0 ? hint != _wokenFor : _wakeUnasked) Wake(hint);
    }

    /// <summary>Begins a new epoch of the outgoing channel and wakes the peer, whatever it announced.</summary>
    public void Initialise()
    {
        _outgoing.Initialise(Epoch.New());
        _wokenFor = 0;

        // What could not be waited for may be whole again, as a region that was truncated.
        _way = _bestWay;
        WakeWhoeverWaits();
    }

    /// <summary>Ends the epoch of the outgoing channel and wakes the peer, so that it sees it.</summary>
    public void Deactivate()
    {
        _outgoing.Deactivate();
        WakeWhoeverWaits();
    }

    /// <summary>Takes note of how many I/Os are in flight: once in a round of the loop.</summary>
    /// <param name="inFlight">How many.</param>
    /// <returns>Whether there are so few, and lately were, that looking for more before a sleep pays.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool NoteInFlight(int inFlight)
    {
        _inFlight = inFlight;
        return _spin.NoteInFlight(inFlight);
    }

    /// <summary>Takes note of a completion with one of the user data above.</summary>
    /// <param name="completion">The completion.</param>
    public void Complete(in Completion completion)
    {
        if (completion.UserData == BeatCompletion) _heartbeat.Came();
        if (completion.UserData != WaitCompletion) return;
        _armed = false;

        // What cannot be waited for, although it could at the start, must not be tried again at once and for ever.
        bool failed = completion.Result < 0 && completion.Result != -EAGAIN && completion.Result != -EINTR;
        if (failed || (_way == Way.Event && (completion.Result & POLLIN) == 0))
        {
            _way = Way.Poll;
            _peerWakes = false;
        }
    }

    /// <summary>
    /// Submits what is queued and waits until the ring has a completion or, if the peer is expected to write, the channel has news.
    /// May return early for no reason: the caller looks at everything again.
    /// </summary>
    /// <param name="expectPeer">Whether the peer may write. If not, nothing is announced and its wakes are not waited for.</param>
    /// <param name="spin">Whether looking for a while pays: <see cref="NoteInFlight"/>.</param>
    /// <param name="longestNanoseconds">The longest that it may sleep; -1 for no limit. Neither a look nor a gathering is cut short by it.</param>
    /// <param name="atOnce">How many of the queued entries complete as soon as they are submitted, and so are no reason to wake up; where there is a look they are one.</param>
    public void Sleep(bool expectPeer, bool spin, long longestNanoseconds = -1, int atOnce = 0)
    {
        uint waitFor = 1 + (uint)atOnce;
        if (spin && _lookDue == 0) _lookDue = _spin.Next();
        if (spin && _lookDue > 0)
        {
            if (_ring.Queued > 0)
            {
                // The caller looks at what may have completed at once, and then comes back with nothing queued.
                _ = _ring.Enter();
                return;
            }

            long ticks = _lookDue;
            _lookDue = 0;
            if (Spin(expectPeer, ticks))
            {
                _pollNanoseconds = PollFirstNanoseconds;
                return;
            }
        }

        if (!spin && expectPeer && Gathers && Gather()) return;

        Sleeps++;
        if (!expectPeer)
        {
            _ = _ring.Enter(waitFor, longestNanoseconds);
            return;
        }

        // The value to sleep on is loaded before the last look: a wc that changed in between fails the wait at once.
        uint expected = Volatile.Read(ref *ChannelHeader.Futex(_incoming.Header));
        if (_way != Way.Poll) Volatile.Write(ref _outgoing.Header->Hint, ++_sequence);

        // Store of the hint before loads of wc and epoch. Pairs with the fence between the peer's wc and its look at the hint.
        Interlocked.MemoryBarrier();
        if (_incoming.HasNews)
        {
            _pollNanoseconds = PollFirstNanoseconds;
            if (_ring.Queued > 0) _ = _ring.Enter();
        }
        else
        {
            if (_way != Way.Poll && !_armed) Arm(expected);

            // A wake covers packets only; an inactive peer's new epoch may be announced just before the wait begins.
            if (!_peerWakes || !_incoming.Synchronised) longestNanoseconds = longestNanoseconds < 0 ? _pollNanoseconds : Math.Min(_pollNanoseconds, longestNanoseconds);
            else if (longestNanoseconds < 0 || longestNanoseconds >= Heartbeat.Nanoseconds)
            {
                // A time-out of each sleep of its own would cost more than the rest of the call.
                _heartbeat.Arm(_ring, BeatCompletion);
                longestNanoseconds = -1;
            }

            _ = _ring.Enter(waitFor, longestNanoseconds);
            _pollNanoseconds = _incoming.HasNews ? PollFirstNanoseconds : Math.Min(_pollNanoseconds * 2, PollLastNanoseconds);
        }

        Volatile.Write(ref _outgoing.Header->Hint, 0);
    }

    private void Arm(uint expected)
    {
        ref SubmissionEntry entry = ref _ring.NextEntry();
        if (_way == Way.Event) entry.PreparePoll(PosixFile.Descriptor(_ways.Event!), (uint)POLLIN);
        else entry.PrepareFutexWait(_ways.WaitWord, expected);
        entry.UserData = WaitCompletion;
        _armed = true;
    }

    private bool HasNews(bool expectPeer) => _ring.HasNews || (expectPeer && _incoming.HasNews);

    private bool Spin(bool expectPeer, long ticks)
    {
        long start = Stopwatch.GetTimestamp();
        long passed = 0;
        do
        {
            for (int i = 0; i < 8; i++)
            {
                if (HasNews(expectPeer))
                {
                    _spin.Found(Stopwatch.GetTimestamp() - start);
                    return true;
                }

                Thread.SpinWait(1);
            }

            // Whoever waits for this CPU may be the one that makes what is looked for, or that whose data it is. One that only computes takes
            // a whole slice, and nothing that arrives meanwhile brings this end back, as it would a sleeper.
            long before = passed;
            _ = Thread.Yield();
            passed = Stopwatch.GetTimestamp() - start;
            if (passed - before <= _slice) continue;
            _spin.TookSlice();
            return false;
        }
        while (passed < ticks);
        if (!HasNews(expectPeer))
        {
            _spin.Missed();
            return false;
        }

        _spin.Found(passed);
        return true;
    }

    private void Wake(ulong hint)
    {
        _wokenFor = hint;
        Wakes++;
        if (_ways.Doorbell is { } bell)
        {
            // Should it fail, as it did not at the start, the peer looks by itself after a while.
            _ = bell.Ring();
        }
        else if (_ways.CanWakeByFutex && _ringWakes)
        {
            ref SubmissionEntry entry = ref _ring.NextEntry();
            entry.PrepareFutexWake(ChannelHeader.Futex(_outgoing.Header), MostWaiters);
            entry.Flags = EntryFlags.SkipSuccess;
            entry.UserData = WakeCompletion;
        }
        else if (_ways.CanWakeByFutex)
        {
            Futex.WakeAll(ChannelHeader.Futex(_outgoing.Header));
        }
    }

    private void WakeWhoeverWaits()
    {
        if (_ways.Doorbell is { } bell) _ = bell.Ring();
        else if (_ways.CanWakeByFutex) Futex.WakeAll(ChannelHeader.Futex(_outgoing.Header));
    }
}
