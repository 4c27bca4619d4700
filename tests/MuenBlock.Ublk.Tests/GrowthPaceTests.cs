using MuenBlock.Ublk.Queues;

namespace MuenBlock.Ublk.Tests;

/// <summary>How often devices may grow.</summary>
public sealed class GrowthPaceTests
{
    private const long Hour = 3_600_000;

    private readonly GrowthPace _pace = new();

    [Fact]
    public void A_server_that_tells_of_more_for_ever_is_followed_ever_more_slowly()
    {
        int times = 0;
        for (long now = 0; now < Hour; now += 100)
        {
            if (!_pace.Allows(now)) continue;
            _pace.Grown(now);
            times++;
        }

        Assert.InRange(times, 50, 70);
    }

    [Fact]
    public void One_that_was_quiet_for_long_and_one_that_somebody_asks_for_are_followed_at_once()
    {
        long now = 0;
        for (int i = 0; i < 20; i++)
        {
            Assert.True(_pace.Allows(now));
            _pace.Grown(now);
            now += GrowthPace.LongestPause;
        }

        Assert.False(_pace.Allows(now - 1));
        now += GrowthPace.LongestPause;
        _pace.Grown(now);
        Assert.False(_pace.Allows(now + GrowthPace.ShortestPause - 1));
        Assert.True(_pace.Allows(now + GrowthPace.ShortestPause));
        _pace.Grown(now + GrowthPace.ShortestPause);
        Assert.False(_pace.Allows(now + GrowthPace.ShortestPause + 1));
        _pace.Forget();
        Assert.True(_pace.Allows(now));
    }
}
