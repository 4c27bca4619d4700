using MuenBlock.Backend.Serving;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using Xunit;

namespace MuenBlock.Backend.Tests;

/// <summary>The rules of the serving machine, one at a time, with disks that end I/O when and how a test says.</summary>
public sealed partial class ServingMachineTests
{
    private const int Eio = 5; // asm-generic/errno-base.h
    private const int Capacity = 4;

    private readonly List<Operation> _operations = [];
    private readonly List<Response> _responses = [];
    private readonly Queue<int> _flushes = [];
    private readonly List<bool> _answered = [];
    private readonly TestLog _log = new();
    private readonly ServingMachine<Disks, Responses> _machine;

    private bool _hasOtherDiscard = true;

    public ServingMachineTests()
    {
        _machine = Make();
        Ask(new Request { Kind = RequestKind.Reset, Tag = 1000 });
        _responses.Clear();
    }

    internal sealed record Operation(RequestKind Kind, uint Slot, ulong Offset, ulong Length, ulong BufferOffset);

    [Fact]
    public void A_Sync_waits_for_the_writes_and_discards_before_it_and_not_for_those_after_it()
    {
        Ask(Write(1), new Request { Kind = RequestKind.Discard, Tag = 2, Length = 512 }, new Request { Kind = RequestKind.Sync, Tag = 3 });
        Ask(Write(4));
        Assert.DoesNotContain(_operations, operation => operation.Kind == RequestKind.Sync);
        End(2, 512);
        End(0, 512);
        Assert.DoesNotContain(_operations, operation => operation.Kind == RequestKind.Sync);
        End(1, 0);
        Operation flush = Assert.Single(_operations, operation => operation.Kind == RequestKind.Sync);
        _machine.Complete(flush.Slot, 0);
        Assert.Equal([4u, 1u, 2u, 3u], _responses.Select(response => response.Tag));
    }

    [Fact]
    public void A_Sync_is_answered_with_what_its_disk_says_of_it()
    {
        Ask(new Request { Kind = RequestKind.Sync, Tag = 1 });
        _flushes.Enqueue(-Eio);
        End(0, 0);
        Assert.Equal((ulong)Status.IoError, Assert.Single(_responses).Status);
    }

    [Fact]
    public void A_disk_is_told_of_a_Sync_that_is_not_answered_as_its_session_is_over()
    {
        Ask(new Request { Kind = RequestKind.Sync, Tag = 1 });
        _machine.BeginSession();
        End(0, -Eio);
        Assert.Empty(_responses);
        Ask(new Request { Kind = RequestKind.Reset, Tag = 2 }, new Request { Kind = RequestKind.Sync, Tag = 3 });
        End(1, 0);
        Assert.Equal([false, true], _answered);
    }

    [Fact]
    public void What_a_disk_fails_is_logged_with_its_place_a_few_times_a_minute()
    {
        for (int i = 0; i < 100; i++)
        {
            Ask(Write(7));
            End(i, -Eio);
        }

        Assert.Equal("connection 1: Write of device 0 has failed at byte 3584, with 512 bytes to go: error 5", _log.Lines[0]);
        Assert.InRange(_log.Lines.Count, 2, 25); // the budget of two minutes, should one end here
    }

    [Fact]
    public void The_oldest_request_is_known_for_as_long_as_it_is_under_way()
    {
        Assert.Equal(long.MaxValue, _machine.Oldest);
        _machine.Now = 7;
        Ask(Write(1));
        _machine.Now = 9;
        Ask(Write(2));
        Assert.Equal(7, _machine.Oldest);
        End(0, 512);
        Assert.Equal(9, _machine.Oldest);
        End(1, 512);
        Assert.Equal(long.MaxValue, _machine.Oldest);
    }

    [Fact]
    public void A_Reset_is_answered_when_nothing_is_under_way_and_what_follows_it_waits()
    {
        Ask(Write(1));
        Ask(new Request { Kind = RequestKind.Reset, Tag = 2 }, new Request { Kind = RequestKind.BlockLength, Tag = 3 });
        Assert.Empty(_responses);
        Assert.True(_machine.Inbox.IsEmpty);
        End(0, 512);
        Assert.Equal([1u, 2u, 3u], _responses.Select(response => response.Tag));
        Assert.Equal(0ul, _responses[1].Status);
    }

    [Fact]
    public void A_new_session_accepts_nothing_while_IO_of_the_old_one_is_under_way_which_is_not_answered()
    {
        Ask(Write(1));
        _machine.BeginSession();
        Assert.True(_machine.Inbox.IsEmpty);
        End(0, 512);
        Assert.Empty(_responses);
        Assert.False(_machine.Inbox.IsEmpty);
    }

    [Fact]
    public void The_answer_to_a_Reset_that_is_held_back_is_dropped_when_anything_follows_and_given_when_nothing_does()
    {
        _machine.BeginSession(resumed: true);
        Ask(new Request { Kind = RequestKind.Reset, Tag = 1 });
        _machine.BeginSession(resumed: true); // whoever sent it is gone
        Ask(new Request { Kind = RequestKind.Reset, Tag = 2 });
        Assert.Empty(_responses);
        Assert.True(_machine.AwaitsConfirmation);
        Ask(new Request { Kind = RequestKind.MaxDevices, Tag = 3 });
        Assert.Equal((RequestKind.MaxDevices, 3u, 2ul), (Assert.Single(_responses).Kind, _responses[0].Tag, _responses[0].Status));

        _machine.BeginSession(resumed: true);
        Ask(new Request { Kind = RequestKind.Reset, Tag = 4 });
        _machine.AnswerUnconfirmed();
        Assert.Equal((RequestKind.Reset, 4u), (_responses[^1].Kind, _responses[^1].Tag));
        Assert.False(_machine.AwaitsConfirmation);
    }

    [Fact]
    public void Before_a_Reset_a_session_executes_and_answers_nothing()
    {
        _machine.BeginSession();
        Ask(Write(1), new Request { Kind = RequestKind.BlockLength, Tag = 2 });
        Assert.Empty(_operations);
        Assert.Empty(_responses);
    }

    [Theory]
    [InlineData(RequestKind.Write)]
    [InlineData(RequestKind.Discard)]
    public void A_read_only_device_is_not_written(RequestKind kind)
    {
        Ask(new Request { Kind = kind, Device = 1, Tag = 1, Length = 512 });
        Assert.Empty(_operations);
        Assert.Equal((ulong)Status.IoError, Assert.Single(_responses).Status);
    }

    [Fact]
    public void No_more_is_taken_in_than_may_be_under_way()
    {
        Assert.Equal(Capacity, _machine.Inbox.Length);
        Ask(Write(1));
        Assert.Equal(Capacity - 1, _machine.Inbox.Length);
        Ask(Write(2), Write(3), Write(4));
        Assert.True(_machine.Inbox.IsEmpty);
        End(2, 512);
        Assert.Equal(1, _machine.Inbox.Length);
    }

    [Fact]
    public void A_Watch_is_answered_when_a_size_has_changed_and_at_once_if_that_was_missed()
    {
        Ask(Watch(1, 0));
        Assert.Equal((1u, 1ul), Answer());
        Ask(Watch(2, 1));
        Assert.Empty(_responses);
        _machine.Resize(1, 2 << 20);
        Assert.Equal((2u, 2ul), Answer());
        _machine.Resize(1, 3 << 20);
        Ask(Watch(3, 2));
        Assert.Equal((3u, 3ul), Answer());
        Ask(new Request { Kind = RequestKind.MediaBlocks, Device = 1, Tag = 4 });
        Assert.Equal((4u, (3ul << 20) / 512), Answer());
    }

    [Fact]
    public void Of_two_Watches_the_earlier_is_answered_and_a_Reset_answers_one_first()
    {
        Ask(Watch(1, 1), Watch(2, 1));
        Assert.Equal((1u, 1ul), Answer());
        Ask(new Request { Kind = RequestKind.Reset, Tag = 3 });
        Assert.Equal([2u, 3u], _responses.Select(response => response.Tag));
    }

    [Fact]
    public void A_Watch_of_a_session_that_is_over_is_not_answered()
    {
        Ask(Watch(1, 1));
        _machine.BeginSession();
        _machine.Resize(0, 16ul << 30);
        Assert.Empty(_responses);
    }

    [Fact]
    public void The_bounds_of_requests_follow_the_size()
    {
        Request behind = Write(1) with { DeviceOffset = 8ul << 30 };
        Ask(behind);
        Assert.Equal((1u, (ulong)Status.IoError), Answer());
        _machine.Resize(0, (8ul << 30) + 512);
        Ask(behind with { Tag = 2 });
        End(0, 512);
        Assert.Equal((2u, 0ul), Answer());
        _machine.Resize(0, 8ul << 30);
        Ask(behind with { Tag = 3 });
        Assert.Equal((3u, (ulong)Status.IoError), Answer());
    }

    private static Request Watch(uint tag, ulong changes) => new() { Kind = RequestKind.Watch, Tag = tag, Length = changes };

    private (uint Tag, ulong Status) Answer()
    {
        Response response = Assert.Single(_responses);
        _responses.Clear();
        return (response.Tag, response.Status);
    }

    private static Request Write(uint tag) => new() { Kind = RequestKind.Write, Tag = tag, Length = 512, DeviceOffset = tag * 512 };

    private ServingMachine<Disks, Responses> Make(StallLog? stalls = null, long stallMilliseconds = long.MaxValue) => new(
        [new ServedDevice(8ul << 30, 512, DeviceTraits.Known | DeviceTraits.Discard), new ServedDevice(1 << 20, 512, DeviceTraits.Known | DeviceTraits.ReadOnly | DeviceTraits.Discard)],
        OffsetUnit.Bytes,
        4ul << 30,
        Capacity,
        8,
        PeerFeatures.Agrees,
        new Complaints(_log, 1),
        new Disks(_operations, _flushes, _answered, () => _hasOtherDiscard),
        new Responses(_responses))
    {
        Stalls = stalls,
        StallMilliseconds = stallMilliseconds,
    };

    private void Ask(params Request[] requests) => Ask(_machine, requests);

    private static void Ask(ServingMachine<Disks, Responses> machine, params Request[] requests)
    {
        requests.CopyTo(machine.Inbox);
        machine.Accept(requests.Length);
    }

    private void End(int operation, int result) => _machine.Complete(_operations[operation].Slot, result);

    private readonly struct Disks(List<Operation> operations, Queue<int> flushes, List<bool> answered, Func<bool> hasOtherDiscard) : IDiskQueue
    {
        public void Read(uint slot, int device, ulong offset, uint length, ulong bufferOffset) => operations.Add(new Operation(RequestKind.Read, slot, offset, length, bufferOffset));

        public void Deliver(ulong bufferOffset, uint length)
        {
            // The disks read to the buffer itself.
        }

        public void Write(uint slot, int device, ulong offset, uint length, ulong bufferOffset) => operations.Add(new Operation(RequestKind.Write, slot, offset, length, bufferOffset));

        public void Discard(uint slot, int device, ulong offset, ulong length) => operations.Add(new Operation(RequestKind.Discard, slot, offset, length, 0));

        public bool FallBackToOtherDiscard(int device) => hasOtherDiscard();

        public void ReadSmart(uint slot, int device, ulong bufferOffset) => throw new InvalidOperationException("the disks have no SMART data");

        public bool EndsBefore(int device, ulong end) => false;

        public void Flush(uint slot, int device) => operations.Add(new Operation(RequestKind.Sync, slot, 0, 0, 0));

        public int EndFlush(int device, int result, bool isAnswered)
        {
            answered.Add(isAnswered);
            return flushes.TryDequeue(out int told) ? told : result;
        }
    }

    private readonly struct Responses(List<Response> responses) : IResponseQueue
    {
        public void Answer(RequestKind kind, ushort device, uint tag, ulong status) =>
            responses.Add(new Response { Kind = kind, Device = device, Tag = tag, Status = status });
    }
}
