namespace MuenBlock.IoUring.Tests;

public sealed class WakeUpTests
{
    [Fact]
    public void Another_thread_wakes_the_ring()
    {
        using Ring ring = TestRing.Create(8);
        using WakeUp wakeUp = new();
        wakeUp.Arm(ring, 6);
        _ = ring.Enter();
        Assert.False(ring.HasNews);
        Thread other = new(wakeUp.Signal);
        other.Start();
        Completion completion = Assert.Single(TestRing.Collect(ring, 1));
        Assert.Equal(6ul, completion.UserData);
        Assert.True(completion.Result > 0);
        other.Join();
    }

    [Fact]
    public void A_signal_is_kept_for_the_next_read_and_many_are_one()
    {
        using Ring ring = TestRing.Create(8);
        using WakeUp wakeUp = new();
        wakeUp.Signal();
        wakeUp.Signal();
        wakeUp.Arm(ring, 1);
        Assert.True(Assert.Single(TestRing.Collect(ring, 1)).Result > 0);
        wakeUp.Arm(ring, 2);
        _ = ring.Enter(1, 1_000_000);
        Assert.False(ring.HasNews);
    }

    [Fact]
    public void A_signal_after_the_end_does_nothing()
    {
        WakeUp wakeUp = new();
        wakeUp.Dispose();
        wakeUp.Signal();
        wakeUp.Dispose();
        using Ring ring = TestRing.Create(8);
        Assert.Throws<ObjectDisposedException>(() => wakeUp.Arm(ring, 1));
        Assert.Equal(0u, ring.Queued);
    }

    [Fact]
    public void The_end_of_ring_and_wake_up_may_come_in_any_order_while_a_read_is_armed()
    {
        for (int i = 0; i < 50; i++)
        {
            Ring ring = TestRing.Create(8);
            WakeUp wakeUp = new();
            wakeUp.Arm(ring, 1);
            _ = ring.Enter();
            if (i % 2 == 0) wakeUp.Signal();
            if (i % 4 < 2)
            {
                ring.Dispose();
                wakeUp.Dispose();
            }
            else
            {
                wakeUp.Dispose();
                ring.Dispose();
            }
        }
    }

    [Fact]
    public void A_thread_without_a_ring_waits_for_a_signal_too_and_takes_all_that_came()
    {
        using var wake = new WakeUp();
        wake.Signal();
        wake.Signal();
        wake.Wait();
        var waits = new Thread(wake.Wait) { IsBackground = true };
        waits.Start();
        Assert.False(waits.Join(50), "a signal was taken twice");
        wake.Signal();
        Assert.True(waits.Join(10_000), "the signal was not seen");
    }
}
