using MuenBlock.Protocol.Messages;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Tests;

/// <summary>I/O that is not answered for long, by example.</summary>
public sealed class PatienceTests
{
    private const int Eio = -5;

    private static readonly Patience s_failing = new(Fail: 8_000, Warn: long.MaxValue);
    private static readonly Patience s_warning = new(Fail: long.MaxValue, Warn: 8_000);

    [Fact]
    public void Without_a_time_out_IO_waits_for_ever_and_nothing_is_looked_at()
    {
        SessionWorld world = Greeted(Patience.Endless);
        world.Session.Submit(1, RequestKind.Write, 0, 0, 4096);
        Assert.Equal(long.MaxValue, world.Session.Deadline);
        world.Session.Tick(long.MaxValue / 2);
        Assert.Empty(world.Completed);
        Assert.Empty(world.Told);
    }

    [Fact]
    public void IO_that_is_not_answered_in_time_fails_with_all_others_and_a_Reset_is_sent()
    {
        SessionWorld world = Greeted(s_failing);
        Submit(world, 1, at: 0);
        Submit(world, 2, at: 5_000);
        _ = world.TakeSent();
        Look(world, 7_000);
        Assert.Empty(world.Completed);
        Look(world, 9_000);
        Assert.Equal([(1u, Eio), (2u, Eio)], world.Completed);
        Assert.Equal(["lost 2 after 9000"], world.Told);
        Assert.True(world.Session.IsLost);
        Assert.Equal(RequestKind.Reset, Assert.Single(world.TakeSent()).Kind);
    }

    [Fact]
    public void A_single_look_gives_nothing_up_as_answers_may_be_there_after_a_pause()
    {
        SessionWorld world = Greeted(s_failing);
        Submit(world, 1, at: 0);
        Request request = Assert.Single(world.TakeSent());
        world.Session.Tick(100_000);
        world.Answer(request, 0);
        Look(world, 101_000);
        Assert.Equal([(1u, 4096)], world.Completed);
        Assert.False(world.Session.IsLost);
    }

    [Fact]
    public void Until_the_Reset_is_answered_all_IO_fails_and_nothing_is_sent()
    {
        SessionWorld world = Greeted(s_failing);
        Submit(world, 1, at: 0);
        Request late = Assert.Single(world.TakeSent());
        Look(world, 9_000);
        Request reset = Assert.Single(world.TakeSent());
        world.Answer(late, 0);
        Submit(world, 1, at: 9_001);
        Submit(world, 2, at: 9_001);
        Assert.Equal([(1u, Eio), (1u, Eio), (2u, Eio)], world.Completed);
        Assert.Empty(world.Sent);
        world.Answer(reset, 0);
        Submit(world, 1, at: 9_002);
        Assert.Equal(4, world.Completed.Count);
    }

    [Fact]
    public void The_kernel_does_not_get_a_slot_that_the_server_may_still_touch()
    {
        SessionWorld world = Greeted(s_failing);
        Submit(world, 1, at: 0);
        Look(world, 9_000);
        Submit(world, 1, at: 9_001);

        // The first was sent, the second has its data elsewhere; the slot of the third was never the server's.
        Submit(world, 2, at: 9_001);
        Assert.Equal([1u, 1u], world.Abandoned);
        Assert.Empty(world.Restored);

        world.Greet();
        Assert.False(world.Session.IsLost);
        Assert.Empty(world.TakeSent());
        Submit(world, 1, at: 9_002);
        Submit(world, 2, at: 9_002);
        Assert.Equal([(1u, 4096u)], world.Restored);
        foreach (Request request in world.TakeSent()) world.Answer(request, 0);
        Submit(world, 1, at: 9_003);
        Assert.Single(world.Restored);
    }

    [Fact]
    public void An_IO_that_is_declined_does_not_give_back_a_slot_that_the_server_may_still_touch()
    {
        SessionWorld world = Greeted(s_failing);
        Submit(world, 1, at: 0);
        Look(world, 9_000);
        world.Session.Decline(1, -14);
        world.Session.Decline(2, -14);
        Assert.Equal([1u, 1u], world.Abandoned);
        Assert.Equal([(1u, -5), (1u, -14), (2u, -14)], world.Completed);

        // What the next write has is where the kernel was told to put it.
        world.Greet();
        Submit(world, 1, at: 9_001);
        Assert.Equal([(1u, 4096u)], world.Restored);
    }

    [Fact]
    public void A_read_into_a_slot_that_was_not_the_kernels_needs_nothing_copied()
    {
        SessionWorld world = Greeted(s_failing);
        Submit(world, 1, at: 0);
        Look(world, 9_000);
        world.Greet();
        world.Session.Submit(1, RequestKind.Read, 0, 0, 4096);
        Assert.Equal([(1u, 0u)], world.Restored);
    }

    [Fact]
    public void IO_that_no_server_was_there_for_fails_too_and_leaves_its_slot_to_the_kernel()
    {
        SessionWorld world = Greeted(s_failing);
        world.Session.ServerLeft();
        Submit(world, 1, at: 0);
        Look(world, 9_000);
        Assert.Equal([(1u, Eio)], world.Completed);
        Assert.Empty(world.Abandoned);
        Assert.Equal(SessionState.Waiting, world.Session.State);
    }

    [Fact]
    public void IO_that_takes_long_is_told_of_once_and_once_more_when_it_ends()
    {
        SessionWorld world = Greeted(s_warning);
        Submit(world, 1, at: 0);
        Submit(world, 2, at: 5_000);
        List<Request> sent = world.TakeSent();
        world.Session.Tick(8_500);
        world.Session.Tick(10_000);
        Assert.Equal(["stalled Write 4096 after 8500"], world.Told);
        Assert.True(world.Session.Deadline <= 11_000);
        foreach (Request request in sent) world.Answer(request, (ulong)Status.NoSpace);
        Assert.Equal(["stalled Write 4096 after 8500", "ended Write 4096 after 10000 with -28"], world.Told);
        Submit(world, 1, at: 10_000);
        world.Session.Tick(12_000);
        Assert.Equal(2, world.Told.Count);
    }

    private static SessionWorld Greeted(Patience patience)
    {
        var world = new SessionWorld(patience);
        world.Greet();
        return world;
    }

    private static void Submit(SessionWorld world, uint slot, long at)
    {
        world.Session.Now = at;
        world.Session.Submit(slot, RequestKind.Write, 0, slot * 4096ul, 4096);
    }

    /// <summary>Looks twice, as a loop does.</summary>
    private static void Look(SessionWorld world, long now)
    {
        world.Session.Tick(now - s_failing.LookEvery);
        world.Session.Tick(now);
    }
}
