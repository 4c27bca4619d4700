using MuenBlock.Backend.Serving;
using MuenBlock.IoUring;
using MuenBlock.Protocol.Regions;
using Xunit;

namespace MuenBlock.Backend.Tests;

/// <summary>How the buffer's pages are registered anew, with rings that take or refuse what a test says.</summary>
public sealed class DiskMemoryTests : IDisposable
{
    private const int Enomem = 12; // asm-generic/errno-base.h
    private const int Efault = 14;
    private const long Second = 1_000;
    private const long Idle = long.MaxValue;

    private readonly TestFolder _folder = new();
    private readonly Region _buffer;
    private readonly DiskMemory _memory;
    private readonly List<ulong> _updates = [];
    private readonly Queue<int> _results = [];
    private long _now = 1_000_000;

    public DiskMemoryTests()
    {
        _ = Region.CreateIfMissing(_folder.Path, "buffer", Region.DefaultBufferSize);
        _buffer = Region.Open(_folder.Path, "buffer", writable: true, Region.PageSize);
        _memory = new DiskMemory(_buffer, canBePinned: true);
        Assert.Equal(0, _memory.Register([]));
        Assert.True(_memory.IsRegistered);
    }

    public void Dispose()
    {
        _memory.Dispose();
        _buffer.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public void Where_the_limit_is_for_one_buffer_the_old_pages_are_let_go_of_before_the_new_ones_are_taken()
    {
        Exchange();
        _results.Enqueue(-Enomem);
        Assert.Equal((0, false), Renew(Idle));
        Assert.Equal([_buffer.Length, 0ul], _updates);
        _now += Second;
        Assert.Equal((0, true), Renew(Idle));
        Assert.Equal([_buffer.Length, 0ul, _buffer.Length], _updates);
    }

    [Fact]
    public void The_old_pages_are_not_let_go_of_while_IO_that_was_prepared_for_them_is_under_way()
    {
        long prepared = _now;
        Exchange();
        _results.Enqueue(-Enomem);
        Assert.Equal((0, false), Renew(oldest: prepared));
        Assert.Equal([_buffer.Length], _updates);
        _now += Second;
        _results.Enqueue(-Enomem);
        Assert.Equal((0, false), Renew(Idle));
        Assert.Equal([_buffer.Length, _buffer.Length, 0ul], _updates);
    }

    [Fact]
    public void What_is_refused_with_nothing_registered_is_told_and_tried_again()
    {
        Exchange();
        for (int i = 0; i < 3; i++)
        {
            _results.Enqueue(-Enomem);
            Assert.Equal((i == 0 ? 0 : -Enomem, false), Renew(Idle));
            _now += Second;
        }

        Assert.Equal((0, true), Renew(Idle));
        Assert.Single(_updates, 0ul);
    }

    [Fact]
    public void A_buffer_that_is_too_small_at_present_leaves_what_is_registered_alone()
    {
        Exchange();
        _results.Enqueue(-Efault);
        Assert.Equal((-Efault, false), Renew(Idle));
        Assert.Equal([_buffer.Length], _updates);
    }

    [Fact]
    public void Pages_are_exchanged_once_a_second_at_most_and_IO_does_not_go_to_those_of_before_meanwhile()
    {
        Exchange();
        Assert.Equal((0, true), Renew(Idle));
        Exchange();
        _now += Second - 1;
        Assert.Equal((0, false), Renew(Idle));
        Assert.Single(_updates);
        _now++;
        Assert.Equal((0, true), Renew(Idle));
        Assert.Equal(2, _updates.Count);
    }

    [Fact]
    public void Pages_are_not_exchanged_again_while_IO_from_before_the_last_exchange_holds_those_of_then()
    {
        Exchange();
        long first = _now;
        Assert.Equal((0, true), Renew(oldest: first - 1));
        for (int i = 0; i < 5; i++)
        {
            Exchange();
            _now += Second;
            Assert.Equal((0, false), Renew(oldest: first));
        }

        Assert.Single(_updates);
        Assert.Equal((0, true), Renew(oldest: first + 1));
        Assert.Equal(2, _updates.Count);
    }

    private (int Result, bool IsRegistered) Renew(long oldest) => (_memory.Renew(Update, _now, oldest), _memory.IsRegistered);

    private int Update(IoVector memory)
    {
        _updates.Add(memory.Length);
        return memory.Length > 0 && _results.TryDequeue(out int result) ? result : 0;
    }

    /// <summary>Somebody cuts the file off and makes it whole again.</summary>
    private void Exchange()
    {
        RandomAccess.SetLength(_buffer.File, 0);
        RandomAccess.SetLength(_buffer.File, Region.DefaultBufferSize);
    }
}
