using MuenBlock.Backend.Serving;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using Xunit;

namespace MuenBlock.Backend.Tests;

/// <content>What becomes of an I/O that its disk has ended: it is answered, continued, or started again.</content>
public sealed partial class ServingMachineTests
{
    private const int Eintr = 4; // asm-generic/errno-base.h
    private const int Eopnotsupp = 95; // asm-generic/errno.h
    private const int Ecanceled = 125;

    [Fact]
    public void What_was_done_in_part_is_continued_where_it_ended()
    {
        Ask(new Request { Kind = RequestKind.Read, Tag = 1, Length = 8192, DeviceOffset = 1024, BufferOffset = 4096 });
        End(0, 3072);
        Assert.Empty(_responses);
        Assert.Equal(_operations[0] with { Offset = 4096, Length = 5120, BufferOffset = 7168 }, _operations[1]);
        End(1, 5120);
        Assert.Equal(0ul, Assert.Single(_responses).Status);
    }

    [Fact]
    public void A_disk_that_does_nothing_has_failed()
    {
        Ask(Write(1));
        End(0, 0);
        Assert.Equal((ulong)Status.IoError, Assert.Single(_responses).Status);
    }

    [Fact]
    public void An_interrupted_IO_is_repeated_a_hundred_times_at_most()
    {
        Ask(Write(1));
        for (int i = 0; i < 100; i++)
        {
            End(i, -Eintr);
            Assert.Empty(_responses);
            Assert.Equal(_operations[0], _operations[i + 1]);
        }

        End(100, -Eintr);
        Assert.Equal((ulong)Status.IoError, Assert.Single(_responses).Status);
        Assert.Equal(101, _operations.Count);
    }

    [Theory]
    [InlineData(RequestKind.Write)]
    [InlineData(RequestKind.Discard)]
    [InlineData(RequestKind.Sync)]
    public void What_the_kernel_had_no_thread_for_is_repeated_after_pauses_for_as_long_as_it_takes(RequestKind kind)
    {
        const int repeats = 1_000;
        _machine.Now = 1_000;
        Ask(new Request { Kind = kind, Tag = 1, Length = kind == RequestKind.Sync ? 0u : 512u });
        for (int i = 0; i < repeats; i++)
        {
            End(i, -Ecanceled);
            Assert.Equal(1, _machine.UnderWay);
            _machine.Now = _machine.Deadline - 1;
            _machine.Tick();
            Assert.Equal(i + 1, _operations.Count);
            _machine.Now++;
            _machine.Tick();
            Assert.Equal(_operations[0], _operations[i + 1]);
            Assert.Equal(long.MaxValue, _machine.Deadline);
        }

        Assert.Empty(_responses);
        Assert.Empty(_answered); // a disk hears of no flush that was not begun
        End(repeats, kind == RequestKind.Write ? 512 : 0);
        Assert.Equal((1u, (ulong)Status.Ok), Answer());
    }

    [Fact]
    public void Of_IO_that_the_kernel_has_no_thread_for_it_is_said_why_it_takes_long()
    {
        ServingMachine<Disks, Responses> machine = Make(new StallLog(_log, 1, static () => "and so on"), stallMilliseconds: 30_000);
        Ask(machine, new Request { Kind = RequestKind.Reset }, new Request { Kind = RequestKind.Sync, Tag = 1 });
        for (int i = 0; _log.Lines.Count == 0 && machine.Now < 60_000; i++)
        {
            machine.Complete(_operations[i].Slot, -Ecanceled);
            machine.Now = machine.Deadline;
            machine.Tick();
        }

        Assert.Contains("the kernel has no thread for it", Assert.Single(_log.Lines), StringComparison.Ordinal);
    }

    [Fact]
    public void All_that_is_paused_is_repeated_at_the_same_time()
    {
        Ask(Write(1), Write(2), Write(3));
        End(0, -Ecanceled);
        _machine.Now += 50;
        End(2, -Ecanceled);
        _machine.Now = _machine.Deadline;
        _machine.Tick();
        Assert.Equal([_operations[0], _operations[2]], _operations.Skip(3));
        End(3, 512);
        End(1, 512);
        End(4, 512);
        Assert.Equal([1u, 2u, 3u], _responses.Select(response => response.Tag));
        Assert.All(_responses, response => Assert.Equal(0ul, response.Status));
    }

    [Fact]
    public void An_error_of_the_disk_is_the_answer()
    {
        Ask(Write(1));
        End(0, -Eio);
        Assert.Equal((ulong)Status.IoError, Assert.Single(_responses).Status);
    }

    [Fact]
    public void A_discard_that_the_kernel_does_not_know_is_tried_the_other_way_once()
    {
        Ask(new Request { Kind = RequestKind.Discard, Tag = 1, Length = 512 });
        End(0, -Eopnotsupp);
        Assert.Equal(2, _operations.Count);
        End(1, -Eopnotsupp);
        Assert.Equal((ulong)Status.NotSupported, Assert.Single(_responses).Status);
    }

    [Fact]
    public void Where_a_disk_turns_out_to_know_no_discards_it_is_asked_for_no_more_and_that_is_said_once()
    {
        _hasOtherDiscard = false;
        Request discard = new() { Kind = RequestKind.Discard, Length = 512 };
        Ask(discard with { Tag = 1 }, discard with { Tag = 2 });
        End(0, -Eopnotsupp);
        End(1, -Eopnotsupp);
        Ask(discard with { Tag = 3 });
        _machine.BeginSession();
        Ask(new Request { Kind = RequestKind.Reset, Tag = 4 }, discard with { Tag = 5 }, new Request { Kind = RequestKind.Traits, Tag = 6 });
        Assert.Equal(2, _operations.Count);
        Assert.Equal(
            [(1u, (ulong)Status.NotSupported), (2u, (ulong)Status.NotSupported), (3u, (ulong)Status.NotSupported), (4u, 0ul), (5u, (ulong)Status.NotSupported), (6u, (ulong)(DeviceTraits.Known | DeviceTraits.Discard))],
            _responses.Select(response => (response.Tag, response.Status)));
        Assert.Equal("connection 1: the file system below device 0 makes no holes: discards are refused from now on, which costs space and nothing else", Assert.Single(_log.Lines));
    }

    [Fact]
    public void Every_discard_that_was_under_way_when_the_kernel_did_not_know_the_first_is_tried_the_other_way()
    {
        Ask(new Request { Kind = RequestKind.Discard, Tag = 1, Length = 512 }, new Request { Kind = RequestKind.Discard, Tag = 2, Length = 512 });
        End(0, -Eopnotsupp);
        End(1, -Eopnotsupp);
        Assert.Equal(4, _operations.Count);
        End(2, 0);
        End(3, 0);
        Assert.All(_responses, response => Assert.Equal((ulong)Status.Ok, response.Status));
        Assert.Equal(2, _responses.Count);
    }
}
