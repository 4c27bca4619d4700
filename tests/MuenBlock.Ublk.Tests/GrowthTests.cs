using MuenBlock.Protocol.Messages;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Tests;

/// <summary>A session whose devices grow, and one that meets another disk.</summary>
public sealed class GrowthTests
{
    private const ulong Blocks = 1000; // of SessionWorld
    private const PeerFeatures Ours = PeerFeatures.Agrees | PeerFeatures.Traits | PeerFeatures.Identity | PeerFeatures.Watch;
    private const long WatchMilliseconds = SessionMachine<SessionWorld.Requests, SessionWorld.Completions>.WatchMilliseconds;
    private const long AnswerMilliseconds = SessionMachine<SessionWorld.Requests, SessionWorld.Completions>.AnswerMilliseconds;

    private readonly SessionWorld _world = new();

    [Fact]
    public void A_server_that_agreed_is_asked_to_say_when_sizes_change_and_then_for_the_sizes()
    {
        Greet(changes: 7);
        Request watch = Single(RequestKind.Watch);
        Assert.Equal(7ul, watch.Length);
        _world.Answer(watch, 8);
        _world.Answer(Single(RequestKind.MediaBlocks), Blocks + 24);
        Assert.Equal(Blocks + 24, _world.Session.Devices[0].Blocks);
        Assert.Equal(["device 0 has 1024 blocks"], _world.Told);
        _world.Session.Tick(WatchMilliseconds - 1);
        Assert.Empty(_world.Sent);
        _world.Session.Tick(WatchMilliseconds);
        Assert.Equal(8ul, Single(RequestKind.Watch).Length);
    }

    [Fact]
    public void Sizes_that_change_again_while_they_are_asked_for_are_asked_for_again()
    {
        Greet(changes: 1);
        _world.Session.AskSizes(0);
        Request watch = _world.Sent.Single(request => request.Kind == RequestKind.Watch);
        Request size = _world.TakeSent().Single(request => request.Kind == RequestKind.MediaBlocks);
        _world.Answer(watch, 2);
        _world.Answer(size, Blocks + 1);
        _world.Answer(Single(RequestKind.MediaBlocks), Blocks + 2);
        Assert.Equal(Blocks + 2, _world.Session.Devices[0].Blocks);
        Assert.Empty(_world.Sent);
    }

    [Fact]
    public void A_plain_server_is_not_asked_to_watch_and_is_asked_for_sizes_by_hand()
    {
        _world.Greet(RequestKind.Features, 0);
        Assert.Empty(_world.Sent);
        _world.Session.AskSizes(0);
        _world.Answer(Single(RequestKind.MediaBlocks), Blocks * 2);
        Assert.Equal(["device 0 has 2000 blocks", "asked: True"], _world.Told);
        Assert.Empty(_world.Sent);
    }

    [Theory]
    [InlineData(Blocks - 1, "SizeDoesNotShrink")]
    [InlineData(0ul, "SizeDoesNotShrink")]
    [InlineData(ulong.MaxValue, "SizeFitsInt64")]
    public void A_size_that_cannot_be_had_is_refused_with_the_rule_and_the_session_goes_on(ulong blocks, string rule)
    {
        Greet();
        _ = _world.TakeSent();
        _world.Session.AskSizes(0);
        _world.Answer(Single(RequestKind.MediaBlocks), blocks);
        Assert.Contains(rule, _world.Told[0], StringComparison.Ordinal);
        Assert.Equal(Blocks, _world.Session.Devices[0].Blocks);
        Assert.Equal(SessionState.Ready, _world.Session.State);
    }

    [Fact]
    public void A_server_that_owes_an_answer_is_not_asked_for_more_and_its_late_answer_counts()
    {
        Greet();
        _ = _world.TakeSent();
        _world.Session.AskSizes(0);
        Request question = Single(RequestKind.MediaBlocks);
        _world.Session.Tick(AnswerMilliseconds);
        _world.Session.AskSizes(AnswerMilliseconds);
        Assert.Equal(["asked: False", "asked: False"], _world.Told);
        Assert.Empty(_world.Sent);
        _world.Answer(question, Blocks + 5);
        Assert.Equal(Blocks + 5, _world.Session.Devices[0].Blocks);
        Assert.Equal(0ul, _world.Session.Strays);
    }

    [Fact]
    public void Who_asks_while_there_is_no_server_or_whose_server_goes_is_told_so()
    {
        _world.Session.AskSizes(0);
        Greet();
        _world.Session.AskSizes(0);
        _world.Session.ServerLeft();
        Assert.Equal(["asked: False", "asked: False"], _world.Told);
    }

    [Fact]
    public void What_nobody_asked_for_is_no_size()
    {
        Greet(changes: 1);
        Request watch = Single(RequestKind.Watch);
        _world.Answer(watch with { Tag = watch.Tag + (1 << 16) }, 9);
        _world.Answer(watch with { Device = 1 }, 9);
        _world.Answer(watch with { Kind = RequestKind.MediaBlocks }, 9);
        Assert.Empty(_world.Sent);
        _world.Answer(watch, 9);
        Request size = Single(RequestKind.MediaBlocks);
        _world.Answer(size with { Device = 1 }, Blocks + 1);
        _world.Answer(watch, 10);
        Assert.Equal(5ul, _world.Session.Strays);
        Assert.Equal(Blocks, _world.Session.Devices[0].Blocks);
    }

    [Fact]
    public void On_a_kernel_whose_devices_cannot_grow_a_successor_may_have_as_little_as_was_promised()
    {
        var world = new SessionWorld(grows: false);
        world.Greet();
        world.Greet(RequestKind.MediaBlocks, Blocks * 2);
        Assert.Contains("device 0 has 2000 blocks", world.Told);
        Assert.Equal(Blocks, world.Session.Devices[0].Blocks);
        world.Greet();
        Assert.Equal(SessionState.Ready, world.Session.State);
    }

    [Fact]
    public void A_server_that_comes_back_larger_raises_what_the_next_one_must_have()
    {
        _world.Greet();
        _world.Greet(RequestKind.MediaBlocks, Blocks * 2);
        Assert.Contains("device 0 has 2000 blocks", _world.Told);
        _world.Greet();
        Assert.Equal(SessionState.Refused, _world.Session.State);
    }

    [Fact]
    public void A_server_that_tells_of_more_for_ever_is_asked_once_a_second()
    {
        Greet(changes: 1);
        ulong size = Blocks;
        int watches = 0;
        int questions = 0;
        for (long now = 0; now < 20 * WatchMilliseconds; now += 100)
        {
            _world.Session.Tick(now);
            for (int i = 0; i < 100; i++)
            {
                foreach (Request request in _world.TakeSent())
                {
                    if (request.Kind == RequestKind.Watch) watches++;
                    else questions++;
                    ulong status = request.Kind == RequestKind.Watch ? request.Length + 1 : ++size;
                    _world.Session.Receive([new Response { Kind = request.Kind, Device = request.Device, Tag = request.Tag, Status = status }], now);
                }
            }
        }

        Assert.Equal((20, 20), (watches, questions));
        Assert.Equal(Blocks + 20, _world.Session.Devices[0].Blocks);
    }

    [Fact]
    public void The_numbers_of_a_server_of_ours_that_does_not_know_Watch_are_not_for_good()
    {
        const PeerFeatures older = PeerFeatures.Agrees | PeerFeatures.Traits | PeerFeatures.Identity;
        foreach (ulong disk in new ulong[] { 13, 15, 16 }) _world.Greet(question => question switch
        {
            RequestKind.Features => (ulong)older,
            RequestKind.Identity => disk,
            _ => SessionWorld.GoodAnswer(question),
        });
        Assert.Equal(SessionState.Ready, _world.Session.State);
        Assert.Empty(_world.Sent);
        Assert.False(_world.Session.KnowsDisks);
        Greet(disk: 11);
        Assert.Equal(SessionState.Ready, _world.Session.State);
        Greet(disk: 13);
        Assert.Equal(SessionState.Waiting, _world.Session.State);
    }

    [Fact]
    public void With_another_disk_IO_waits_for_the_right_one_and_nothing_is_written()
    {
        Greet(disk: 11);
        _world.Session.Submit(4, RequestKind.Write, 0, 0, 4096);
        _ = _world.TakeSent();
        Greet(disk: 13);
        Assert.Equal(SessionState.Waiting, _world.Session.State);
        Assert.Contains("DisksStayTheSame: device 0 is disk 000000000000000d instead of 000000000000000b", Assert.Single(_world.Told), StringComparison.Ordinal);
        _world.Session.Submit(5, RequestKind.Write, 0, 0, 4096);
        Assert.Empty(_world.Sent);
        Assert.Empty(_world.Completed);
        Greet(disk: 11);
        Assert.Equal([4u, 5u], _world.Sent.Where(request => request.Kind == RequestKind.Write).Select(request => request.Tag & 0xffff));
    }

    [Theory]
    [InlineData(11ul, 0ul)]
    [InlineData(0ul, 11ul)]
    [InlineData(12ul, 14ul)]
    [InlineData(11ul, 11ul)]
    public void Disks_that_cannot_be_told_apart_for_good_are_taken_for_the_same(ulong before, ulong now)
    {
        Greet(disk: before);
        Greet(disk: now);
        Assert.Equal(SessionState.Ready, _world.Session.State);
    }

    [Fact]
    public void A_disk_that_is_known_stays_known_over_a_server_that_cannot_tell()
    {
        Greet(disk: 11);
        Greet(disk: 0);
        Greet(disk: 13);
        Assert.Equal(SessionState.Waiting, _world.Session.State);
    }

    [Fact]
    public void Where_the_disks_are_known_a_slow_server_is_not_soon_taken_for_a_plain_one()
    {
        Greet();
        _ = _world.TakeSent();
        _world.Session.ServerAppeared(0);
        _world.Answer(Single(RequestKind.Reset), 0);
        Request features = Single(RequestKind.Features);
        _world.Session.Tick(AnswerMilliseconds - 1);
        Assert.Empty(_world.Sent);
        _world.Answer(features, (ulong)Ours);
        Assert.Equal(PeerFeatures.None, _world.Session.ServerFeatures & ~Ours);
        Assert.Equal(RequestKind.Watch, Single(RequestKind.Watch).Kind);
    }

    private void Greet(ulong changes = 1, ulong disk = 11) => _world.Greet(question => question switch
    {
        RequestKind.Features => (ulong)Ours,
        RequestKind.Watch => changes,
        RequestKind.Identity => disk,
        _ => SessionWorld.GoodAnswer(question),
    });

    private Request Single(RequestKind kind)
    {
        Request request = Assert.Single(_world.TakeSent());
        Assert.Equal(kind, request.Kind);
        return request;
    }
}
