using MuenBlock.Protocol.Messages;
using MuenBlock.Ublk.Queues;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Tests;

/// <summary>The client's session by example; the simulation has the rest.</summary>
public sealed class SessionTests
{
    private const ulong Blocks = SessionWorld.Blocks;

    private static readonly RequestKind[] s_questions =
        [RequestKind.Reset, RequestKind.Features, RequestKind.MaxDevices, RequestKind.MediaBlocks, RequestKind.BlockLength, RequestKind.MaxBlocksCount, RequestKind.Traits];

    [Fact]
    public void A_session_begins_with_a_Reset_and_asks_one_question_at_a_time()
    {
        var world = new SessionWorld();
        world.Session.ServerAppeared(0);
        foreach (RequestKind question in s_questions)
        {
            Request request = Assert.Single(world.TakeSent());
            Assert.Equal(question, request.Kind);
            world.Answer(request, SessionWorld.GoodAnswer(question));
        }

        Assert.Equal(SessionState.Ready, world.Session.State);
        Assert.Equal(new DeviceGeometry(Blocks, 512, 256, DeviceTraits.Known), Assert.Single(world.Session.Devices.ToArray()));
    }

    [Fact]
    public void A_server_that_does_not_know_Features_is_a_plain_one_after_a_deadline_and_is_not_asked_for_traits()
    {
        var world = new SessionWorld();
        world.Session.ServerAppeared(0);
        world.AnswerNext();
        Assert.Equal(RequestKind.Features, Assert.Single(world.TakeSent()).Kind);
        world.Session.Tick(SessionMachine<SessionWorld.Requests, SessionWorld.Completions>.FeaturesMilliseconds - 1);
        Assert.Empty(world.Sent);
        world.Session.Tick(SessionMachine<SessionWorld.Requests, SessionWorld.Completions>.FeaturesMilliseconds);
        for (int i = 0; i < 4; i++) world.AnswerNext();
        Assert.Equal(SessionState.Ready, world.Session.State);
        Assert.Equal(PeerFeatures.None, world.Session.ServerFeatures);
        Assert.Empty(world.Sent);
    }

    [Fact]
    public void A_question_that_is_not_answered_begins_the_handshake_anew()
    {
        var world = new SessionWorld();
        world.Session.ServerAppeared(0);
        uint first = Assert.Single(world.TakeSent()).Tag;
        world.Session.Tick(SessionMachine<SessionWorld.Requests, SessionWorld.Completions>.AnswerMilliseconds);
        Request again = Assert.Single(world.TakeSent());
        Assert.Equal(RequestKind.Reset, again.Kind);
        Assert.NotEqual(first, again.Tag);
        Assert.Equal([RequestKind.Reset], world.Unanswered);
        Assert.Equal(2, world.Restarts);
    }

    [Fact]
    public void Nothing_is_believed_before_the_Reset_is_answered()
    {
        var world = new SessionWorld();
        world.Session.ServerAppeared(0);
        Request reset = Assert.Single(world.TakeSent());
        world.Answer(reset with { Tag = reset.Tag - 1 }, 0);
        world.Answer(reset with { Kind = RequestKind.Read }, 0);
        Assert.Empty(world.Sent);
        world.Answer(reset, 0);
        Assert.Equal(RequestKind.Features, Assert.Single(world.TakeSent()).Kind);
    }

    [Theory]
    [InlineData(RequestKind.Read, 4096u, 4096)]
    [InlineData(RequestKind.Write, 4096u, 4096)]
    [InlineData(RequestKind.Discard, 4096u, 0)]
    [InlineData(RequestKind.Sync, 0u, 0)]
    public void An_IO_ends_with_its_full_length_or_an_errno(RequestKind kind, uint length, int result)
    {
        var world = new SessionWorld();
        world.Greet();
        world.Session.Submit(3, kind, 0, 8192, length);
        Request request = Assert.Single(world.TakeSent());
        Assert.Equal((kind, 16ul, (ulong)length), (request.Kind, request.DeviceOffset, request.Length));
        Assert.Equal(kind is RequestKind.Read or RequestKind.Write ? 3ul * SessionWorld.SlotSize : 0, request.BufferOffset);
        world.Answer(request, 0);
        world.Session.Submit(3, kind, 0, 8192, length);
        world.AnswerNext((ulong)Status.NoSpace);
        Assert.Equal([(3u, result), (3u, -28)], world.Completed);
    }

    [Fact]
    public void An_answer_that_was_not_asked_for_completes_nothing()
    {
        var world = new SessionWorld();
        world.Greet();
        world.Session.Submit(3, RequestKind.Read, 0, 0, 4096);
        Request request = Assert.Single(world.TakeSent());
        world.Answer(request with { Tag = request.Tag + (1 << 16) }, 0);
        world.Answer(request with { Tag = request.Tag ^ 1 }, 0);
        world.Answer(request with { Kind = RequestKind.Write }, 0);
        world.Answer(request with { Device = 1 }, 0);
        world.Answer(request with { Tag = uint.MaxValue }, 0);
        Assert.Empty(world.Completed);
        Assert.Equal(5ul, world.Session.Strays);
        world.Answer(request, 0);
        world.Answer(request, 0);
        Assert.Equal([(3u, 4096)], world.Completed);
        Assert.Equal(6ul, world.Session.Strays);
    }

    [Fact]
    public void An_IO_in_an_applications_memory_names_that_place_whenever_it_is_sent()
    {
        const ulong place = 1 << 20;
        var world = new SessionWorld();
        world.Greet();
        world.Session.Submit(3, RequestKind.Write, 0, 0, 4096, place);
        Assert.Equal(place, Assert.Single(world.TakeSent()).BufferOffset);
        world.Session.ServerLeft();
        world.Greet();
        Request again = Assert.Single(world.TakeSent());
        Assert.Equal(place, again.BufferOffset);
        world.Answer(again, 0);
        world.Session.Submit(3, RequestKind.Write, 0, 0, 4096);
        Assert.Equal(3ul * SessionWorld.SlotSize, Assert.Single(world.TakeSent()).BufferOffset);
    }

    [Fact]
    public void A_server_that_may_merge_is_sent_nothing_from_an_applications_memory()
    {
        var world = new SessionWorld();
        world.Greet();
        world.Session.Submit(3, RequestKind.Write, 0, 0, 4096, 1 << 20);
        world.TakeSent();
        world.Session.ServerLeft();
        world.Greet(RequestKind.Features, 0);
        world.Session.Submit(4, RequestKind.Read, 0, 0, 4096, 1 << 20);
        Assert.Empty(world.Sent);
        Assert.Equal([(3u, -5), (4u, -5)], world.Completed);
    }

    [Fact]
    public void When_the_shared_memory_is_lost_IO_fails_until_it_is_back_and_then_waits_for_the_server()
    {
        var world = new SessionWorld();
        world.Greet();
        world.Session.Submit(5, RequestKind.Write, 0, 0, 4096);
        Request sent = Assert.Single(world.TakeSent());
        world.Session.MemoryLost();
        world.Session.Submit(6, RequestKind.Read, 0, 0, 4096);
        world.Answer(sent, 0);
        world.Session.ServerLeft();
        Assert.Equal([(5u, -5), (6u, -5)], world.Completed);
        world.Session.MemoryReturned();
        world.Session.Submit(7, RequestKind.Write, 0, 0, 4096);
        Assert.Empty(world.Sent);
        Assert.Equal(2, world.Completed.Count);
        world.Greet();
        Assert.Equal(7ul, Assert.Single(world.TakeSent()).BufferOffset / SessionWorld.SlotSize);
    }

    [Fact]
    public void When_the_shared_memory_is_lost_the_kernel_does_not_get_a_slot_that_the_server_may_still_touch()
    {
        var world = new SessionWorld();
        world.Greet();
        world.Session.Submit(5, RequestKind.Write, 0, 0, 4096);
        Assert.Single(world.TakeSent());
        world.Session.MemoryLost();
        world.Session.Submit(6, RequestKind.Write, 0, 4096, 4096);
        Assert.Equal([5u], world.Abandoned);
        world.Session.MemoryReturned();
        world.Session.Submit(5, RequestKind.Write, 0, 0, 4096);
        Assert.True(world.Session.IsElsewhere(5));
        Assert.False(world.Session.IsElsewhere(6));
        Assert.Empty(world.Restored);

        // The answer to its Reset says that the server does not touch it any more.
        world.Greet();
        Assert.Equal([(5u, 4096u)], world.Restored);
        Assert.Equal(5ul, Assert.Single(world.TakeSent()).BufferOffset / SessionWorld.SlotSize);
        Assert.False(world.Session.IsElsewhere(5));
    }

    [Fact]
    public void A_slot_is_the_kernels_again_when_the_server_that_comes_is_refused_after_its_Reset()
    {
        var world = new SessionWorld();
        world.Greet();
        world.Session.Submit(5, RequestKind.Write, 0, 0, 4096);
        Assert.Single(world.TakeSent());
        world.Session.MemoryLost();
        world.Session.MemoryReturned();
        world.Session.Submit(5, RequestKind.Write, 0, 0, 4096);
        world.Greet(RequestKind.MediaBlocks, SessionWorld.GoodAnswer(RequestKind.MediaBlocks) - 1);
        Assert.Equal([(5u, -5), (5u, -5)], world.Completed);
        Assert.Equal([5u], world.Abandoned);
        Assert.False(world.Session.IsElsewhere(5));
    }

    [Fact]
    public void After_a_restart_of_the_server_what_was_in_flight_is_sent_again_in_order_with_new_tags()
    {
        var world = new SessionWorld();
        world.Greet();
        foreach (uint slot in (uint[])[5, 2, 7]) world.Session.Submit(slot, RequestKind.Write, 0, slot * 4096ul, 4096);
        List<Request> before = world.TakeSent();
        world.Session.ServerLeft();
        world.Session.Submit(1, RequestKind.Sync, 0, 0, 0);
        Assert.Empty(world.Sent);
        world.Greet();
        List<Request> after = world.TakeSent();
        Assert.Equal([5ul * 8, 2 * 8, 7 * 8, 0], after.Select(request => request.DeviceOffset));
        Assert.Empty(before.Select(request => request.Tag).Intersect(after.Select(request => request.Tag)));
        foreach (Request request in before) world.Answer(request, 0);
        Assert.Empty(world.Completed);
        foreach (Request request in after) world.Answer(request, 0);
        Assert.Equal([5u, 2u, 7u, 1u], world.Completed.Select(completed => completed.Slot));
    }

    [Theory]
    [InlineData(RequestKind.MediaBlocks, Blocks - 1, "SizeDoesNotShrink")]
    [InlineData(RequestKind.BlockLength, 4096ul, "BlockLengthStaysTheSame")]
    [InlineData(RequestKind.MaxDevices, 2ul, "DevicesStayTheSame")]
    [InlineData(RequestKind.MaxBlocksCount, 128ul, "RequestsMayStayAsLarge")]
    public void A_server_that_comes_back_with_less_is_refused_and_IO_fails(RequestKind question, ulong answer, string rule)
    {
        var world = new SessionWorld();
        world.Greet();
        world.Session.Submit(4, RequestKind.Write, 0, 0, 4096);
        _ = world.TakeSent();
        world.Greet(question, answer);
        Assert.Equal(SessionState.Refused, world.Session.State);
        Assert.Contains(rule, world.Refusal, StringComparison.Ordinal);
        world.Session.Submit(5, RequestKind.Write, 0, 0, 4096);
        Assert.Equal([(4u, -5), (5u, -5)], world.Completed);
        Assert.DoesNotContain(world.Sent, request => request.Kind == RequestKind.Write);
    }

    [Fact]
    public void A_server_that_comes_back_larger_is_welcome()
    {
        var world = new SessionWorld();
        world.Greet();
        world.Greet(RequestKind.MediaBlocks, Blocks + 1);
        Assert.Equal(SessionState.Ready, world.Session.State);
    }

    [Theory]
    [InlineData(RequestKind.MaxDevices, 0ul, "DevicesAre")]
    [InlineData(RequestKind.MaxDevices, 257ul, "DevicesAre")]
    [InlineData(RequestKind.MaxDevices, ulong.MaxValue, "DevicesAre")]
    [InlineData(RequestKind.BlockLength, 0ul, "BlockLengthIsPowerOfTwo")]
    [InlineData(RequestKind.BlockLength, 513ul, "BlockLengthIsPowerOfTwo")]
    [InlineData(RequestKind.BlockLength, 8192ul, "BlockLengthIsPowerOfTwo")]
    [InlineData(RequestKind.BlockLength, (1ul << 32) + 512, "BlockLengthIsPowerOfTwo")]
    [InlineData(RequestKind.MediaBlocks, ulong.MaxValue, "SizeFits")]
    [InlineData(RequestKind.MaxBlocksCount, 7ul, "RequestsMayHave4096Bytes")]
    public void An_impossible_answer_is_refused_with_the_rule(RequestKind question, ulong answer, string rule)
    {
        var world = new SessionWorld();
        world.Greet(question, answer);
        Assert.Equal(SessionState.Refused, world.Session.State);
        Assert.Contains(rule, world.Refusal, StringComparison.Ordinal);
    }

    [Fact]
    public void A_server_that_fails_to_reset_is_refused_and_no_slot_that_it_may_touch_is_given_back()
    {
        var world = new SessionWorld();
        world.Greet();
        world.Session.Submit(4, RequestKind.Read, 0, 0, 4096);
        _ = world.TakeSent();
        world.Greet(RequestKind.Reset, 1);
        Assert.Contains("ResetSucceeds", world.Refusal, StringComparison.Ordinal);
        Assert.Empty(world.Completed);
        world.Greet();
        Assert.Equal(SessionState.Ready, world.Session.State);
        Assert.Contains(world.Sent, request => request.Kind == RequestKind.Read);
    }

    [Fact]
    public void A_device_without_blocks_is_skipped_and_not_an_error()
    {
        var world = new SessionWorld();
        world.Greet(RequestKind.MediaBlocks, 0);
        Assert.Equal(SessionState.Ready, world.Session.State);
        Assert.Equal(0ul, world.Session.Devices[0].Size);
    }

    [Fact]
    public void A_device_without_blocks_may_have_blocks_of_no_length_and_any_bound_in_every_session()
    {
        var world = new SessionWorld();
        for (int session = 0; session < 2; session++)
        {
            world.Greet(question => question switch
            {
                RequestKind.MediaBlocks or RequestKind.BlockLength => 0,
                RequestKind.MaxBlocksCount => ulong.MaxValue,
                _ => SessionWorld.GoodAnswer(question),
            });
            Assert.Equal(SessionState.Ready, world.Session.State);
        }

        DeviceGeometry none = world.Session.Devices[0];
        Assert.Equal([none], JoinedDevices.Meet([(1, [none]), (2, [none])]));
    }

    [Theory]
    [InlineData(3u, 4u)]
    [InlineData(4u, 3u)]
    public void Of_two_IOs_that_a_plain_server_would_merge_the_later_is_sent_when_the_earlier_has_ended(uint first, uint second)
    {
        var world = new SessionWorld();
        world.Greet(RequestKind.Features, 0);
        world.Session.Submit(first, RequestKind.Write, 0, Mergeable(first), SessionWorld.SlotSize);
        Request earlier = Assert.Single(world.TakeSent());
        world.Session.Submit(second, RequestKind.Write, 0, Mergeable(second), SessionWorld.SlotSize);
        Assert.Empty(world.Sent);
        world.Answer(earlier with { Tag = (earlier.Tag & 0xffff0000) | second }, 0);
        Assert.Empty(world.Completed);
        world.Answer(earlier, 0);
        world.AnswerNext(0);
        Assert.Equal([(first, SessionWorld.SlotSize), (second, SessionWorld.SlotSize)], world.Completed);
    }

    [Fact]
    public void Neighbours_are_sent_at_once_to_a_server_of_ours_and_to_any_if_they_are_of_different_kinds_or_do_not_touch()
    {
        var ours = new SessionWorld();
        ours.Greet();
        foreach (uint slot in (uint[])[3, 4]) ours.Session.Submit(slot, RequestKind.Write, 0, Mergeable(slot), SessionWorld.SlotSize);
        Assert.Equal(2, ours.Sent.Count);

        var plain = new SessionWorld();
        plain.Greet(RequestKind.Features, 0);
        plain.Session.Submit(3, RequestKind.Write, 0, Mergeable(3), SessionWorld.SlotSize);
        plain.Session.Submit(4, RequestKind.Read, 0, Mergeable(4), SessionWorld.SlotSize);
        plain.Session.Submit(5, RequestKind.Read, 0, Mergeable(5) + 4096, SessionWorld.SlotSize);
        plain.Session.Submit(8, RequestKind.Write, 0, Mergeable(8), SessionWorld.SlotSize - 4096);
        plain.Session.Submit(9, RequestKind.Write, 0, Mergeable(9), SessionWorld.SlotSize);
        Assert.Equal(5, plain.Sent.Count);
    }

    [Fact]
    public void Plain_servers_and_ours_in_turns_are_never_left_a_pair_that_they_would_merge_and_answer_all()
    {
        var random = new Random(7);
        var world = new SessionWorld();
        world.Greet();
        var pending = new List<Request>();
        var free = new List<uint>(Enumerable.Range(0, SessionWorld.Slots).Select(slot => (uint)slot));
        int submitted = 0;
        for (int step = 0; step < 5_000; step++)
        {
            if (random.Next(500) == 0)
            {
                world.Session.ServerLeft();
                pending.Clear();
                if (random.Next(2) == 0) world.Greet(RequestKind.Features, 0);
                else world.Greet();
            }
            else if (free.Count > 0 && random.Next(2) == 0)
            {
                uint slot = free[random.Next(free.Count)];
                free.Remove(slot);
                submitted++;
                RequestKind kind = random.Next(2) == 0 ? RequestKind.Read : RequestKind.Write;
                world.Session.Submit(slot, kind, 0, Mergeable(slot), random.Next(4) == 0 ? SessionWorld.SlotSize / 2u : SessionWorld.SlotSize);
            }
            else if (pending.Count > 0)
            {
                Request request = pending[random.Next(pending.Count)];
                pending.Remove(request);
                int done = world.Completed.Count;
                world.Answer(request, 0);
                free.AddRange(world.Completed.Skip(done).Select(completed => completed.Slot));
            }

            pending.AddRange(world.TakeSent());
            if (world.Session.ServerFeatures == PeerFeatures.None)
                Assert.DoesNotContain(pending, first => pending.Exists(second => SessionWorld.IsMerged(first, second)));
        }

        while (pending.Count > 0)
        {
            world.Answer(pending[0], 0);
            pending.RemoveAt(0);
            pending.AddRange(world.TakeSent());
        }

        Assert.Equal(submitted, world.Completed.Count);
    }

    // The offset at which an I/O of a slot continues that of the slot before as the original's servers count: sector + bytes.
    private static ulong Mergeable(uint slot) => (ulong)slot * SessionWorld.SlotSize << 9;
}
