using MuenBlock.Ublk.Cli;

namespace MuenBlock.Ublk.Tests;

/// <summary>A server that is asked to end goes when that costs nobody anything, and as soon as it can.</summary>
public sealed class DepartureTests : IDepartingServer
{
    private const int LookMilliseconds = 20;
    private const long Patience = 10_000;

    private readonly Departure _departure;
    private bool _idle = true;
    private bool _used;
    private bool _removable = true;
    private int _removals;

    public DepartureTests() => _departure = new Departure(this);

    public long Milliseconds { get; private set; } = 1_000_000;

    public bool IsRecoverable { get; private set; } = true;

    bool IDepartingServer.IsIdle => _idle;

    public long CompletedIos { get; private set; }

    bool IDepartingServer.IsInUse() => _used;

    bool IDepartingServer.TryRemove()
    {
        _removals++;
        return _removable;
    }

    [Fact]
    public void Nothing_happens_unasked()
    {
        Assert.Null(Await(2 * Patience));
        Assert.False(_departure.IsDraining);
    }

    [Fact]
    public void Devices_that_nobody_uses_are_removed()
    {
        Assert.Null(_departure.Ask());
        Assert.Equal(ServerEnd.Remove, _departure.Look());
    }

    [Fact]
    public void While_a_device_is_used_it_goes_on_until_it_is_asked_again()
    {
        _used = true;
        Assert.Null(_departure.Ask());
        Assert.Null(Await(2 * Patience));
        _used = false;
        Assert.Null(Await(2 * Patience));
        Assert.Equal(0, _removals);
        Assert.Null(_departure.Ask());
        Assert.Equal(ServerEnd.Remove, _departure.Look());
    }

    [Theory]
    [InlineData(true, false)] // its users go on waiting
    [InlineData(false, true)] // so does the I/O under way
    public void A_second_time_soon_leaves_the_devices(bool used, bool busy)
    {
        (_used, _idle) = (used, !busy);
        Assert.Null(_departure.Ask());
        Assert.Null(Await(Patience - LookMilliseconds));
        Assert.Equal(ServerEnd.Leave, _departure.Ask());
    }

    [Fact]
    public void A_second_time_does_not_end_the_server_of_devices_that_would_go_with_it()
    {
        (_used, IsRecoverable) = (true, false);
        Assert.Null(_departure.Ask());
        Assert.Null(_departure.Ask());
        Assert.Equal(0, _removals);
    }

    [Fact]
    public void IO_that_ends_in_time_is_waited_for()
    {
        _idle = false;
        Assert.Null(_departure.Ask());
        Assert.Null(Await(Patience - LookMilliseconds));
        _idle = true;
        Assert.Equal(ServerEnd.Remove, _departure.Look());
    }

    [Fact]
    public void IO_that_does_not_end_leaves_the_devices()
    {
        _idle = false;
        Assert.Null(_departure.Ask());
        long asked = Milliseconds;
        Assert.Equal(ServerEnd.Leave, Await(2 * Patience));
        Assert.Equal(Patience, Milliseconds - asked);
    }

    // Who mounts a device meanwhile would be left with one that waits, and a server that has ended well is not started again.
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Who_comes_while_IO_is_waited_for_keeps_the_devices(bool progresses)
    {
        _idle = false;
        Assert.Null(_departure.Ask());
        Assert.Null(Await(Patience / 2, progresses));
        _used = true;
        Assert.Null(Await(2 * Patience, progresses));
        Assert.False(_departure.IsDraining);
        (_idle, _used) = (true, false);
        Assert.Null(_departure.Look());
        Assert.Equal(0, _removals);
    }

    // Such as the last pages of a program that is closing the device: nobody has it open any more.
    [Fact]
    public void IO_that_goes_on_is_waited_for_and_counts_from_its_last_progress()
    {
        _idle = false;
        Assert.Null(_departure.Ask());
        Assert.Null(Await(5 * Patience, progresses: true));
        Assert.True(_departure.IsDraining);
        long progressed = Milliseconds;
        Assert.Equal(ServerEnd.Leave, Await(2 * Patience));
        Assert.Equal(Patience, Milliseconds - progressed);
    }

    [Fact]
    public void Who_comes_at_the_last_moment_keeps_the_device()
    {
        _removable = false;
        Assert.Null(_departure.Ask());
        Assert.Null(_departure.Look());
        Assert.False(_departure.IsDraining);
        Assert.Equal(1, _removals);
    }

    private ServerEnd? Await(long milliseconds, bool progresses = false)
    {
        for (long end = Milliseconds + milliseconds; Milliseconds < end;)
        {
            Milliseconds += LookMilliseconds;
            if (progresses) CompletedIos++;
            if (_departure.Look() is { } found) return found;
        }

        return null;
    }
}
