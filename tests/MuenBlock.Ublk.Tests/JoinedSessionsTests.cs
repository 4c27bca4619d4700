using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Queues;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Tests;

/// <summary>Sessions of joined connections: what one does that another may not undo.</summary>
public sealed class JoinedSessionsTests
{
    private const int Eio = -5;
    private const ulong GoodBlocks = 1000; // of SessionWorld
    private const ulong Disk = 6; // not for good, so that a session may meet another one
    private const ulong OtherDisk = 8;

    private static readonly Patience s_failing = new(Fail: 8_000, Warn: long.MaxValue);

    private readonly SessionWorld _first;
    private readonly SessionWorld _second;

    public JoinedSessionsTests()
    {
        var joined = new JoinedSessions([1, 2]);
        _first = new SessionWorld(s_failing, joined[0]);
        _second = new SessionWorld(s_failing, joined[1]);
        _first.GreetWithDisk(Disk);
        _second.GreetWithDisk(Disk);
    }

    [Theory]
    [InlineData(RequestKind.Write, true)]
    [InlineData(RequestKind.Discard, true)]
    [InlineData(RequestKind.Read, false)]
    [InlineData(RequestKind.Sync, false)]
    public void No_queue_writes_while_a_write_that_was_given_up_on_another_may_still_land(RequestKind kind, bool fails)
    {
        LoseFirst();
        _second.Session.Submit(4, kind, 0, 0, kind == RequestKind.Sync ? 0u : 4096u);
        Assert.Equal(fails ? [(4u, Eio)] : [], _second.Completed);
        Assert.Equal(fails ? 0 : 1, _second.TakeSent().Count);
        Assert.Equal(SessionState.Ready, _second.Session.State);
    }

    [Fact]
    public void After_the_answer_to_the_Reset_every_queue_writes_again()
    {
        LoseFirst();
        _first.GreetWithDisk(Disk);
        Write(_second, 4);
        Assert.Empty(_second.Completed);
        Assert.Single(_second.Sent);
    }

    [Fact]
    public void A_write_that_is_given_up_after_the_answer_to_the_Reset_leaves_no_doubt_behind()
    {
        Write(_first, 1);
        _first.Session.ServerAppeared(7_500);
        _first.Session.Tick(8_000);
        _first.Answer(Assert.Single(_first.TakeSent(), request => request.Kind == RequestKind.Reset), 0, 8_500);

        // It is sent again when the handshake is done. Its time is up before.
        _first.Session.Tick(9_000);
        Assert.Equal([(1u, Eio)], _first.Completed);
        Assert.Empty(_first.Abandoned);
        Write(_second, 4);
        Assert.Empty(_second.Completed);
        while (_first.Session.State == SessionState.Greeting) _first.AnswerNext();
        Write(_first, 2);
        Assert.Single(_first.Completed);
    }

    [Fact]
    public void A_write_that_no_server_knows_of_is_given_up_without_a_doubt()
    {
        _first.Session.ServerLeft();
        Write(_first, 1);
        Look(_first, 9_000);
        Assert.Equal([(1u, Eio)], _first.Completed);
        Write(_second, 4);
        Assert.Empty(_second.Completed);
    }

    [Fact]
    public void Memory_that_is_lost_with_writes_under_way_is_a_doubt_for_every_queue()
    {
        Write(_first, 1);
        _first.Session.MemoryLost();
        Assert.Equal([(1u, Eio)], _first.Completed);
        Write(_second, 4);
        Assert.Equal([(4u, Eio)], _second.Completed);
        _first.Session.MemoryReturned();
        _first.GreetWithDisk(Disk);
        Write(_second, 5);
        Assert.Single(_second.Completed);
    }

    [Fact]
    public void A_refused_Reset_ends_no_doubt()
    {
        LoseFirst();
        _first.Session.ServerAppeared(0);
        _first.Answer(Assert.Single(_first.TakeSent()), 10);
        Write(_second, 4);
        Assert.Equal([(4u, Eio)], _second.Completed);
    }

    [Fact]
    public void A_connection_that_waits_for_its_server_does_not_hold_up_another()
    {
        _first.Session.ServerLeft();
        Write(_first, 1);
        Write(_second, 4);
        _second.AnswerNext(0);
        Assert.Equal([(4u, 4096)], _second.Completed);
        Assert.Empty(_first.Completed);
        _first.GreetWithDisk(Disk);
        Assert.Equal(SessionState.Ready, _first.Session.State);
    }

    [Fact]
    public void A_server_that_comes_back_with_another_disk_waits_until_all_connections_lead_there()
    {
        Write(_first, 1);
        _first.GreetWithDisk(OtherDisk);
        Assert.Equal(SessionState.Greeting, _first.Session.State);
        Assert.Equal(["JoinedConnectionsLeadToTheSameDisks: device 0 is not the same disk as on connection 2"], _first.Told);
        _first.Session.Tick(SessionMachine<SessionWorld.Requests, SessionWorld.Completions>.OthersMilliseconds);
        Assert.Equal(SessionState.Greeting, _first.Session.State);
        Assert.Single(_first.Told);
        Assert.Empty(_first.Completed);

        // The other one's server is gone; when it is back it has the same disk, and neither waits.
        _second.Session.ServerLeft();
        _first.Session.Tick(2 * SessionMachine<SessionWorld.Requests, SessionWorld.Completions>.OthersMilliseconds);
        Assert.Equal(SessionState.Ready, _first.Session.State);
        Assert.Equal(RequestKind.Write, Assert.Single(_first.Sent).Kind);
        _second.GreetWithDisk(OtherDisk);
        Assert.Equal(SessionState.Ready, _second.Session.State);
    }

    [Fact]
    public void A_server_that_comes_back_with_a_disk_that_is_another_for_good_waits_whatever_the_others_have()
    {
        var joined = new JoinedSessions([1, 2]);
        SessionWorld[] worlds = [.. Enumerable.Range(0, 2).Select(i => new SessionWorld(joined: joined[i]))];
        foreach (SessionWorld world in worlds) Greet(world, 11, GoodBlocks);
        worlds[1].Session.ServerLeft();
        Write(worlds[0], 1);
        Greet(worlds[0], 13, GoodBlocks);
        Assert.Equal(SessionState.Waiting, worlds[0].Session.State);
        Assert.StartsWith("DisksStayTheSame", Assert.Single(worlds[0].Told), StringComparison.Ordinal);

        // The other one, whose disk is the right one, does not wait for it.
        Greet(worlds[1], 11, GoodBlocks);
        Assert.Equal(SessionState.Ready, worlds[1].Session.State);
        Assert.Empty(worlds[0].Completed);
        Greet(worlds[0], 11, GoodBlocks);
        Assert.Equal(SessionState.Ready, worlds[0].Session.State);
        Assert.Contains(worlds[0].Sent, request => request.Kind == RequestKind.Write);
    }

    [Fact]
    public void What_a_server_says_of_sizes_counts_once_its_disk_is_that_of_the_others()
    {
        Greet(_first, OtherDisk, GoodBlocks * 2);
        Assert.Equal(SessionState.Greeting, _first.Session.State);
        Assert.Contains(_first.Told, rule => rule.StartsWith("JoinedConnectionsLeadToTheSameDisks", StringComparison.Ordinal));
        Assert.Equal(GoodBlocks, _first.Session.Devices[0].Blocks);
        Assert.DoesNotContain("device 0 has 2000 blocks", _first.Told);
        _second.Session.ServerLeft();
        _first.Session.Tick(SessionMachine<SessionWorld.Requests, SessionWorld.Completions>.OthersMilliseconds);
        Assert.Equal(SessionState.Ready, _first.Session.State);
        Assert.Equal(GoodBlocks * 2, _first.Session.Devices[0].Blocks);
        Assert.Contains("device 0 has 2000 blocks", _first.Told);
    }

    [Fact]
    public void A_joined_device_is_as_large_as_the_smallest_of_the_sizes_on_its_connections()
    {
        var device = new DeviceGeometry(1000, 512, 256, DeviceTraits.Known);
        Assert.Equal(1000ul, JoinedDevices.Common(device with { Blocks = 2000 }, device).Blocks);
        Assert.Equal(1500ul, JoinedDevices.Common(device with { Blocks = 1500 }, device with { Blocks = 2000 }).Blocks);
        Assert.Equal(11ul, JoinedDevices.Common(device with { Identity = 11, Blocks = 2000 }, device).Identity);

        // That is asked every second.
        var meter = new AllocationMeter();
        meter.Restart();
        DeviceGeometry common = device;
        for (int i = 0; i < 100; i++) common = JoinedDevices.Common(common, device with { Blocks = 1000 - (ulong)i });
        Assert.Equal((901ul, 0L), (common.Blocks, meter.Bytes));

        // One that is added or taken over in the middle of it, where it is certain that it is one disk.
        DeviceGeometry known = device with { Identity = 11 };
        Assert.Equal([known], JoinedDevices.Meet([(1, [known with { Blocks = 2000 }]), (2, [known])]));
        Assert.Throws<ProgramException>(() => JoinedDevices.Meet([(1, [known with { Blocks = 2000 }]), (2, [device])]));
        Assert.Throws<ProgramException>(() => JoinedDevices.Meet([(1, [known with { Blocks = 0 }]), (2, [known])]));
    }

    [Fact]
    public void Two_disks_are_not_joined_and_what_servers_do_not_tell_is_not_held_against_them()
    {
        var joined = new JoinedSessions([1, 2, 3]);
        SessionWorld[] worlds = [.. Enumerable.Range(0, 3).Select(i => new SessionWorld(joined: joined[i]))];
        worlds[0].GreetWithDisk(Disk);
        worlds[1].GreetWithDisk(OtherDisk);
        Assert.Equal(SessionState.Refused, worlds[1].Session.State);
        Assert.StartsWith("JoinedConnectionsLeadToTheSameDisks", worlds[1].Refusal, StringComparison.Ordinal);
        worlds[2].Greet();
        Assert.Equal(SessionState.Ready, worlds[2].Session.State);
    }

    [Fact]
    public void Joined_connections_must_export_the_same_and_the_least_that_any_takes_counts()
    {
        var device = new DeviceGeometry(1000, 512, 256, DeviceTraits.Known);
        DeviceGeometry smaller = device with { MostBlocks = 64 };
        Assert.Equal([smaller], JoinedDevices.Meet([(1, [device with { MostBlocks = 0 }]), (2, [smaller]), (3, [device])]));
        foreach (DeviceGeometry[] others in new DeviceGeometry[][] { [], [device, device], [device with { Blocks = 999 }], [device with { BlockLength = 4096 }], [device with { Traits = DeviceTraits.ReadOnly }] })
        {
            ProgramException failure = Assert.Throws<ProgramException>(() => JoinedDevices.Meet([(1, [device]), (2, others)]));
            Assert.Equal(ExitCode.Peer, failure.ExitCode);
            Assert.StartsWith("the connections cannot be joined: ", failure.Message, StringComparison.Ordinal);
        }
    }

    private void LoseFirst()
    {
        Write(_first, 1);
        Look(_first, 9_000);
        Assert.Equal([(1u, Eio)], _first.Completed);
    }

    private static void Greet(SessionWorld world, ulong disk, ulong blocks)
    {
        world.Session.ServerAppeared(0);
        for (int i = 0; i < 32 && world.Session.State == SessionState.Greeting && world.Sent.Count > 0; i++)
        {
            Request request = world.Sent[0];
            world.Sent.RemoveAt(0);
            world.Answer(request, request.Kind switch
            {
                RequestKind.Features => (ulong)(PeerFeatures.Agrees | PeerFeatures.Traits | PeerFeatures.Identity | PeerFeatures.Watch),
                RequestKind.Watch => 1,
                RequestKind.Identity => disk,
                RequestKind.MediaBlocks => blocks,
                _ => SessionWorld.GoodAnswer(request.Kind),
            });
        }
    }

    private static void Write(SessionWorld world, uint slot) => world.Session.Submit(slot, RequestKind.Write, 0, slot * 4096ul, 4096);

    /// <summary>Looks twice, as a loop does.</summary>
    private static void Look(SessionWorld world, long now)
    {
        world.Session.Tick(now - s_failing.LookEvery);
        world.Session.Tick(now);
    }
}
