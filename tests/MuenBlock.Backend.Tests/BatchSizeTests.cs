using MuenBlock.Backend.Serving;
using MuenBlock.Protocol.Messages;
using Xunit;

namespace MuenBlock.Backend.Tests;

/// <summary>How many requests are taken at a time.</summary>
public sealed class BatchSizeTests
{
    private const int Most = 64;

    private readonly BatchSize _size = new(Most);

    [Fact]
    public void A_disk_that_is_idle_gets_a_few_at_once_and_then_as_many_as_it_has()
    {
        Assert.Equal(BatchSize.Few, _size.Next(underWay: 0));
        Take(BatchSize.Few);
        Assert.Equal(BatchSize.Few, _size.Next(underWay: BatchSize.Few));
        Take(BatchSize.Few);
        Assert.Equal(20, _size.Next(underWay: 20));
        Take(20);
        Assert.Equal(Most, _size.Next(underWay: 500));
    }

    [Fact]
    public void What_is_done_as_soon_as_it_is_submitted_is_no_reason_for_small_batches()
    {
        Assert.Equal(BatchSize.Few, _size.Next(underWay: 0));
        Take(BatchSize.Few, leftMore: true);
        Assert.Equal(Most, _size.Next(underWay: 0));

        // The next are the first of others.
        Take(7);
        Assert.Equal(Most, _size.Next(underWay: 0));

        // Something is not done at once any more.
        Take(Most, leftMore: true);
        Assert.Equal(BatchSize.Few, _size.Next(underWay: 1));
        Take(1);
        Assert.Equal(BatchSize.Few, _size.Next(underWay: 0));
    }

    [Fact]
    public void That_a_disk_has_done_all_by_the_time_that_more_comes_does_not_mean_that_it_was_done_at_once()
    {
        Assert.Equal(BatchSize.Few, _size.Next(underWay: 0));
        Take(BatchSize.Few);
        Assert.Equal(BatchSize.Few, _size.Next(underWay: 0));
    }

    [Theory]
    [InlineData(0, Most)]
    [InlineData(4096, Most)]
    [InlineData(64 << 10, 8)]
    [InlineData(128 << 10, 4)]
    [InlineData(512 << 10, 1)]
    [InlineData(long.MaxValue, 1)]
    public void A_batch_has_half_a_MiB_if_its_requests_are_as_long_as_the_last_one(long length, int expected)
    {
        _ = _size.Next(underWay: Most);
        Take(Most, (ulong)length);
        Assert.Equal(expected, _size.Next(underWay: Most));
    }

    [Fact]
    public void Only_transfers_have_a_length_that_counts()
    {
        _ = _size.Next(underWay: Most);
        Take(1, ulong.MaxValue, RequestKind.Discard);
        Assert.Equal(Most, _size.Next(underWay: Most));
    }

    private void Take(int count, ulong length = 4096, RequestKind kind = RequestKind.Read, bool leftMore = false)
    {
        var batch = new Request[count];
        batch.AsSpan().Fill(new Request { Kind = kind, Length = length });
        _size.Took(batch, leftMore);
    }
}
