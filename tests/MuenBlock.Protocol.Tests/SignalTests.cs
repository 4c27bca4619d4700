using System.Diagnostics;
using MuenBlock.IoUring;
using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Regions;
using MuenBlock.Protocol.Signals;
using Xunit;

namespace MuenBlock.Protocol.Tests;

/// <summary>How an end tells its peer that there is something to read. The event is a plain file here, which grows by a byte each time.</summary>
public sealed unsafe class SignalTests : IDisposable
{
    private const ulong Protocol = 0x1234;
    private const int SleepsMax = 100; // a sleep may end early for no reason
    private const int Many = 8; // packets that are due: enough to gather
    private const PeerFeatures Agreed = PeerFeatures.Agrees | PeerFeatures.Events;

    private readonly string _folder = Directory.CreateDirectory($"/dev/shm/muenblock-test-{Guid.NewGuid():n}").FullName;
    private readonly Region _incoming;
    private readonly Region _outgoing;

    public SignalTests()
    {
        foreach (string name in (string[])["in", "out"]) _ = Region.CreateIfMissing(_folder, name, 8192);
        _ = Directory.CreateDirectory(Events);
        File.WriteAllBytes($"{Events}/out", []);
        _incoming = Region.Open(_folder, "in", writable: true, 8192);
        _outgoing = Region.Open(_folder, "out", writable: true, 8192);
    }

    private string Events => $"{_folder}/events";

    private long Rings => new FileInfo($"{Events}/out").Length;

    /// <summary>What the peer announces, in the channel that it writes.</summary>
    private ulong PeersHint
    {
        set => Volatile.Write(ref ((ChannelHeader*)_incoming.Memory)->Hint, value);
    }

    public void Dispose()
    {
        _incoming.Dispose();
        _outgoing.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public void A_peer_that_gives_hints_gets_one_event_for_each_sleep()
    {
        using Ring ring = Ring.Create(new RingOptions { Entries = 8 });
        using SignalWays ways = SignalWays.Find(_incoming, _outgoing, Events);
        PeerSignal<Response, Request> signal = Signal(ring, ways);
        signal.Initialise();
        signal.Agree(Agreed);
        long before = Rings;
        signal.Publish();
        Assert.Equal(before, Rings);
        for (ulong sleep = 7; sleep < 10; sleep++)
        {
            PeersHint = sleep;
            signal.Publish();
            signal.Publish();
            Assert.Equal(++before, Rings);
            PeersHint = 0;
            signal.Publish();
            Assert.Equal(before, Rings);
        }
    }

    [Fact]
    public void A_successor_of_the_peer_gets_its_event_for_a_number_that_its_predecessor_was_woken_for()
    {
        using Ring ring = Ring.Create(new RingOptions { Entries = 8 });
        using SignalWays ways = SignalWays.Find(_incoming, _outgoing, Events);
        PeerSignal<Response, Request> signal = Signal(ring, ways);
        signal.Initialise();
        long before = Rings;
        for (int peer = 1; peer <= 3; peer++)
        {
            signal.Agree(Agreed);
            PeersHint = 1;
            signal.Publish();
            signal.Publish();
            Assert.Equal(before + peer, Rings);
            signal.Forget();
        }
    }

    [Fact]
    public void A_peer_that_knows_no_hints_gets_an_event_each_time()
    {
        using Ring ring = Ring.Create(new RingOptions { Entries = 8 });
        using SignalWays ways = SignalWays.Find(_incoming, _outgoing, Events);
        PeerSignal<Response, Request> signal = Signal(ring, ways);
        signal.Initialise();
        foreach (PeerFeatures features in (PeerFeatures[])[Agreed, PeerFeatures.None])
        {
            signal.Agree(features);
            long before = Rings;
            for (int i = 0; i < 5; i++) signal.Publish();
            Assert.Equal(features == PeerFeatures.None ? before + 5 : before, Rings);
        }
    }

    [Fact]
    public void A_new_epoch_and_the_end_of_one_are_told_whatever_the_peer_announced()
    {
        using Ring ring = Ring.Create(new RingOptions { Entries = 8 });
        using SignalWays ways = SignalWays.Find(_incoming, _outgoing, Events);
        PeerSignal<Response, Request> signal = Signal(ring, ways);
        signal.Agree(Agreed);
        long before = Rings;
        signal.Initialise();
        Assert.Equal(before + 1, Rings);
        signal.Deactivate();
        Assert.Equal(before + 2, Rings);
    }

    [Fact]
    public void A_peer_is_promised_the_wakes_that_it_gets()
    {
        using (SignalWays ways = SignalWays.Find(_incoming, _outgoing, Events)) Assert.Equal(PeerFeatures.Events, ways.Wakes);
        using (SignalWays ways = SignalWays.Find(_incoming, _outgoing, eventDirectory: null)) Assert.Equal(PeerFeatures.Futex, ways.Wakes);

        // The channel that this end only reads has no event that it may ring.
        using (SignalWays ways = SignalWays.Find(_outgoing, _incoming, Events))
        {
            Assert.Equal(PeerFeatures.Futex, ways.Wakes);
            Assert.Equal($"there is no event {Events}/in", ways.WhyNoDoorbell);
        }
    }

    [Fact]
    public void A_file_that_is_always_ready_has_no_event()
    {
        using SignalWays ways = SignalWays.Find(_incoming, _outgoing, Events);
        Assert.Null(ways.Event);
        using Ring ring = Ring.Create(new RingOptions { Entries = 8 });
        Assert.DoesNotContain("event of in", Signal(ring, ways).Waiting, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_sleep_ends_with_the_wake_of_the_peer_whether_or_not_its_channel_may_be_written(bool writable)
    {
        SkipWithoutFutexes();
        using Ring ring = Ring.Create(new RingOptions { Entries = 8 });
        using Region mapped = Region.Open(_folder, "in", writable, 8192);
        using SignalWays ways = SignalWays.Find(mapped, _outgoing, eventDirectory: null);
        Assert.Equal(writable, ways.WaitWord == ChannelHeader.Futex((ChannelHeader*)mapped.Memory));
        PeerSignal<Response, Request> signal = Met(ring, ways, Reader(mapped));
        bool woken = false;

        // Again and again, as a wake that comes before the sleep is none; there is no packet that could end the sleep instead.
        var wakes = new Thread(() =>
        {
            for (; !Volatile.Read(ref woken); Thread.Sleep(1)) Futex.WakeAll(ChannelHeader.Futex((ChannelHeader*)_incoming.Memory));
        });
        wakes.Start();
        for (int sleep = 0; sleep < SleepsMax && !woken; sleep++)
        {
            signal.Sleep(expectPeer: true, spin: false);
            while (ring.TryTake(out Completion completion))
            {
                if (completion is { UserData: PeerSignal<Response, Request>.WaitCompletion, Result: 0 }) Volatile.Write(ref woken, true);
                signal.Complete(completion);
            }
        }

        bool ended = woken;
        Volatile.Write(ref woken, true);
        wakes.Join();
        Assert.True(ended);
    }

    [Fact]
    public void A_sleep_that_nothing_ends_is_ended_by_the_heartbeat()
    {
        SkipWithoutFutexes();
        using Ring ring = Ring.Create(new RingOptions { Entries = 8 });
        using SignalWays ways = SignalWays.Find(_incoming, _outgoing, eventDirectory: null);
        PeerSignal<Response, Request> signal = Met(ring, ways, Reader(_incoming));
        for (int beat = 0; beat < 2; beat++)
        {
            ulong completion = 0;
            for (int sleep = 0; sleep < SleepsMax && completion == 0; sleep++)
            {
                signal.Sleep(expectPeer: true, spin: false);
                if (!ring.TryTake(out Completion taken)) continue;
                completion = taken.UserData;
                signal.Complete(taken);
            }

            Assert.Equal(PeerSignal<Response, Request>.BeatCompletion, completion);
        }
    }

    [Fact]
    public void What_the_ring_gets_meanwhile_does_not_end_a_gathering()
    {
        SkipWithoutFutexes();
        using Ring ring = Ring.Create(new RingOptions { Entries = 8 });
        using SignalWays ways = SignalWays.Find(_incoming, _outgoing, eventDirectory: null);
        PeerSignal<Response, Request> signal = Met(ring, ways, Reader(_incoming), gathers: true);
        Assert.False(signal.NoteInFlight(Many));
        var first = new KernelTimespec { Nanoseconds = 300_000 };
        TimeSpan longest = default;

        // Several, as on a busy machine the ring may get it before the gathering begins.
        for (int sleep = 0; sleep < 5; sleep++)
        {
            ring.NextEntry().PrepareTimeout(&first);
            long start = Stopwatch.GetTimestamp();
            signal.Sleep(expectPeer: true, spin: false);
            if (Stopwatch.GetElapsedTime(start) is var took && took > longest) longest = took;
            Assert.True(ring.HasNews);
            _ = ring.Enter();
            while (ring.TryTake(out _))
            {
            }

            ring.Release();
        }

        Assert.True(longest >= TimeSpan.FromMilliseconds(1));
    }

    [Theory]
    [InlineData(true, Many, PeerFeatures.Futex, true)]
    [InlineData(false, Many, PeerFeatures.Futex, false)]
    [InlineData(true, Many - 1, PeerFeatures.Futex, false)]
    [InlineData(true, Many, PeerFeatures.None, false)]
    public void An_end_gathers_while_a_peer_that_wakes_it_owes_many_packets(bool gathers, int inFlight, PeerFeatures peer, bool expected)
    {
        SkipWithoutFutexes();
        using Ring ring = Ring.Create(new RingOptions { Entries = 8 });
        using SignalWays ways = SignalWays.Find(_incoming, _outgoing, eventDirectory: null);
        PeerSignal<Response, Request> signal = Met(ring, ways, Reader(_incoming), gathers);
        signal.Agree(PeerFeatures.Agrees | peer);
        Assert.False(signal.NoteInFlight(inFlight));

        // It submits before it gathers, and what completes at once is reason enough for neither that nor a sleep.
        ring.NextEntry().PrepareNop();
        signal.Sleep(expectPeer: true, spin: false);
        Assert.Equal(expected ? 0u : 1u, signal.Sleeps);
        Assert.True(ring.TryTake(out _));
    }

    [Fact]
    public void Gatherings_that_are_in_vain_become_rare()
    {
        SkipWithoutFutexes();
        using Ring ring = Ring.Create(new RingOptions { Entries = 8 });
        using SignalWays ways = SignalWays.Find(_incoming, _outgoing, eventDirectory: null);
        PeerSignal<Response, Request> signal = Met(ring, ways, Reader(_incoming), gathers: true);
        Assert.False(signal.NoteInFlight(Many));
        const long tooShort = 1_000; // ns, of the sleep in the ring behind each gathering
        for (int sleep = 0; sleep < SpinBudget.RarestLook; sleep++) signal.Sleep(expectPeer: true, spin: false, tooShort);
        ulong before = signal.Sleeps;
        for (int sleep = 0; sleep < SpinBudget.RarestLook; sleep++) signal.Sleep(expectPeer: true, spin: false, tooShort);
        Assert.InRange(signal.Sleeps - before, (ulong)SpinBudget.RarestLook, (ulong)SpinBudget.RarestLook + 1);
    }

    [Fact]
    public void A_peer_whose_ring_waits_and_whose_thread_gathers_is_woken_as_a_whole()
    {
        SkipWithoutFutexes();
        using Ring ring = Ring.Create(new RingOptions { Entries = 8 });
        using SignalWays ways = SignalWays.Find(_incoming, _outgoing, eventDirectory: null);
        var writer = new ChannelWriter<Request>(_outgoing.Memory, _outgoing.Length, Protocol);
        var signal = new PeerSignal<Response, Request>(ring, Reader(_incoming), writer, ways, WaitMode.Auto, TimeSpan.Zero);
        signal.Initialise();
        uint* word = ChannelHeader.Futex((ChannelHeader*)_outgoing.Memory);
        uint written = *word;
        using Ring peer = Ring.Create(new RingOptions { Entries = 8 });
        peer.NextEntry().PrepareFutexWait(word, written);
        _ = peer.Enter();

        // Should it begin to wait only after the wake, it finds another value.
        var thread = new Thread(() => Futex.Wait(ChannelHeader.Futex((ChannelHeader*)_outgoing.Memory), written, 999_999_999));
        thread.Start();
        Thread.Sleep(20);
        PeersHint = 1;
        _ = writer.Next();
        signal.Publish();
        _ = ring.Enter();
        Assert.True(thread.Join(700));
        _ = peer.Enter(1, 999_999_999);
        Assert.True(peer.TryTake(out Completion woken));
        Assert.Equal(0, woken.Result);
    }

    private static void SkipWithoutFutexes() => Assert.SkipUnless(Environment.OSVersion.Version >= new Version(6, 7), "rings know futexes since Linux 6.7");

    private static ChannelReader<Response> Reader(Region region) => new(region.Memory, region.Length, Protocol);

    private PeerSignal<Response, Request> Signal(Ring ring, SignalWays ways, ChannelReader<Response>? reader = null, bool gathers = false) => new(
        ring,
        reader ?? Reader(_incoming),
        new ChannelWriter<Request>(_outgoing.Memory, _outgoing.Length, Protocol),
        ways,
        WaitMode.Auto,
        TimeSpan.Zero)
    {
        Gathers = gathers,
    };

    /// <summary>A signal whose peer is there and wakes by futex.</summary>
    private PeerSignal<Response, Request> Met(Ring ring, SignalWays ways, ChannelReader<Response> reader, bool gathers = false)
    {
        new ChannelWriter<Response>(_incoming.Memory, _incoming.Length, Protocol).Initialise(1);
        Assert.Equal(ReadStatus.NewEpoch, reader.Read([], out _));
        PeerSignal<Response, Request> signal = Signal(ring, ways, reader, gathers);
        signal.Initialise();
        signal.Agree(PeerFeatures.Agrees | PeerFeatures.Futex);
        return signal;
    }
}
