namespace MuenBlock.IoUring.Tests;

/// <summary>Rings whose entries a thread of the kernel takes.</summary>
public sealed class SubmissionThreadTests
{
    private static readonly TimeSpan s_short = TimeSpan.FromMilliseconds(1);
    private static readonly TimeSpan s_long = TimeSpan.FromSeconds(30);

    [Fact]
    public void Every_rung_works()
    {
        Assert.SkipUnless(TestRing.KernelIs(6, 6), "the best rung needs Linux 6.6");
        RingOptions options = Options(s_short);
        foreach (RingSetup rung in RingMemory.Ladder(options))
        {
            using Ring ring = Ring.Create(options, [rung]);
            Assert.Equal(rung | RingSetup.CompletionQueueSize, ring.Setup);
            ring.RegisterSelf();
            for (int round = 0; round < 10; round++)
            {
                TestRing.QueueNops(ring, 0, 16);
                Assert.Equal([.. Enumerable.Range(0, 16).Select(i => (ulong)i)], TestRing.Collect(ring, 16).Select(c => c.UserData).Order());
                Assert.Equal(0u, ring.Queued);
            }
        }
    }

    [Fact]
    public void While_the_thread_is_awake_submitting_is_no_system_call()
    {
        using Ring ring = Ring.Create(Options(s_long));
        TestRing.QueueNops(ring, 0, 1);
        _ = TestRing.Collect(ring, 1);
        ulong before = ring.Enters;
        for (int i = 0; i < 100; i++)
        {
            TestRing.QueueNops(ring, 0, 4);
            Assert.Equal(4u, ring.Enter());
            TakeBySight(ring, 4);
        }

        Assert.Equal(before, ring.Enters);
    }

    [Fact]
    public void A_thread_that_sleeps_is_woken()
    {
        using Ring ring = Ring.Create(Options(s_short));
        for (int i = 0; i < 10; i++)
        {
            Thread.Sleep(20);
            TestRing.QueueNops(ring, 0, 1);
            _ = ring.Enter();
            TakeBySight(ring, 1);
        }

        // On a machine where the thread never slept the test would say nothing.
        Assert.True(ring.Enters > 0);
    }

    [Fact]
    public void A_full_queue_waits_for_the_thread()
    {
        using Ring ring = Ring.Create(Options(s_short));
        const int count = 500;
        TestRing.QueueNops(ring, 0, count);
        _ = ring.Enter();
        TakeBySight(ring, count);
    }

    [Fact]
    public void An_idle_time_out_of_range_is_refused()
    {
        Assert.Throws<ArgumentException>(() => Ring.Create(Options(TimeSpan.Zero)));
        Assert.Throws<ArgumentException>(() => Ring.Create(Options(RingOptions.LongestIdle + s_short)));
    }

    private static RingOptions Options(TimeSpan idle) => new() { Entries = 8, CompletionEntries = 1024, SubmissionThreadIdle = idle };

    /// <summary>Takes so many completions without entering the kernel, in the order of their entries.</summary>
    private static void TakeBySight(Ring ring, int count)
    {
        long deadline = Environment.TickCount64 + (TestRing.Patience / 1_000_000);
        for (int taken = 0; taken < count;)
        {
            Assert.True(Environment.TickCount64 < deadline, $"{taken} of {count} completions came");
            if (ring.TryTake(out Completion completion)) Assert.Equal((ulong)(taken++ % count), completion.UserData);
            else Thread.Yield();
        }

        ring.Release();
    }
}
