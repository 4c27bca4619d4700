using MuenBlock.Backend.Serving;
using Xunit;

namespace MuenBlock.Backend.Tests;

/// <summary>The end of a backend whose disks take their time.</summary>
public sealed class DrainTests
{
    private readonly TestLog _log = new();
    private readonly List<(uint Id, int UnderWay)> _connections = [(1, 3), (7, 2)];
    private long _now;
    private int _waits;

    [Fact]
    public void Connections_that_end_soon_are_waited_for_without_a_word()
    {
        Assert.True(Await(wait =>
        {
            _connections.RemoveAt(0);
            return false;
        }));
        Assert.Equal(2, _waits);
        Assert.Empty(_log.Lines);
    }

    [Fact]
    public void What_takes_long_is_told_after_five_seconds_and_then_once_a_minute()
    {
        Assert.True(Await(wait =>
        {
            if (wait == 2) _connections.RemoveAt(0);
            if (wait == 130) _connections.Clear();
            return false;
        }));
        Assert.Equal(130, _waits);
        Assert.Equal(3, _log.Lines.Count); // after 5, 65 and 125 seconds
        Assert.All(_log.Lines, line => Assert.Contains("connection 7: waiting for 2 request(s)", line, StringComparison.Ordinal));
    }

    [Fact]
    public void Another_signal_ends_the_wait_and_says_what_was_under_way()
    {
        Assert.False(Await(wait => wait == 3));
        Assert.Equal(["connection 1: ended with 3 request(s)", "connection 7: ended with 2 request(s)"], _log.Lines.Select(line => line[..line.IndexOf(" under", StringComparison.Ordinal)]));
    }

    [Fact]
    public void Another_signal_does_not_cut_short_what_only_waits_to_be_heard()
    {
        NothingIsUnderWay();
        Assert.True(Await(wait =>
        {
            if (wait == 5) _connections.Clear();
            _now -= wait < 3 ? 0 : 900; // signals end a wait
            return wait >= 3;
        }));
        Assert.Empty(_log.Lines);
    }

    [Fact]
    public void What_does_not_end_although_nothing_is_under_way_is_not_waited_for_for_long()
    {
        NothingIsUnderWay();
        Assert.False(Await(wait => wait == 3));
        Assert.Equal(4, _waits);
        Assert.Equal(2, _log.Lines.Count);
    }

    [Fact]
    public void A_signal_that_was_sent_twice_at_once_is_one()
    {
        Assert.True(Await(wait =>
        {
            if (wait == 1) _now -= 1;
            else _connections.Clear();
            return true;
        }));
        Assert.Empty(_log.Lines);
    }

    [Fact]
    public void After_a_failure_the_first_signal_is_one_to_finish_what_is_under_way()
    {
        Assert.False(Await(wait => wait is 2 or 5, afterFailure: true));
        Assert.Equal(5, _waits);
    }

    [Fact]
    public void After_a_failure_nobody_waits_for_long()
    {
        Assert.False(Await(wait => false, afterFailure: true));
        Assert.Equal(30, _waits);
    }

    private void NothingIsUnderWay()
    {
        for (int i = 0; i < _connections.Count; i++) _connections[i] = (_connections[i].Id, 0);
    }

    private bool Await(Func<int, bool> wait, bool afterFailure = false) => new Drain(_log, () => _now).Await(() => _connections, longest =>
    {
        Assert.True(++_waits <= 1_000, "waits for ever");
        _now += (long)longest.TotalMilliseconds;
        return wait(_waits);
    }, afterFailure ? null : _now);
}
