using static Tmds.Linux.LibC;

namespace MuenBlock.IoUring.Tests;

public sealed class LadderTests
{
    // A flag that no kernel knows.
    private const RingSetup Unknown = (RingSetup)(1u << 31);

    public static TheoryData<RingSetup, bool, bool> Rungs
    {
        get
        {
            TheoryData<RingSetup, bool, bool> rungs = [];
            foreach (bool single in (bool[])[true, false])
            {
                foreach (bool large in (bool[])[true, false])
                {
                    RingOptions options = new() { Entries = 8, SingleIssuer = single };
                    foreach (RingSetup rung in RingMemory.Ladder(options)) rungs.Add(rung, single, large);
                }
            }

            return rungs;
        }
    }

    [Theory]
    [MemberData(nameof(Rungs))]
    public void Every_rung_works(RingSetup rung, bool single, bool large)
    {
        Assert.SkipUnless(TestRing.KernelIs(6, 6), "the best rung needs Linux 6.6");
        RingOptions options = new() { Entries = 8, CompletionEntries = 32, LargeEntries = large, SingleIssuer = single };
        using Ring ring = Ring.Create(options, [rung]);
        Assert.Equal(rung | RingSetup.CompletionQueueSize | (large ? RingSetup.LargeEntries : 0), ring.Setup);
        ring.RegisterSelf();
        for (ulong round = 0; round < 10; round++)
        {
            TestRing.QueueNops(ring, 0, 11);
            for (ulong i = 11; i < 16; i++)
            {
                ref SubmissionEntry entry = ref ring.NextEntry();
                entry.PrepareNop();
                entry.Flags = EntryFlags.Async;
                entry.UserData = i;
            }

            Assert.Equal([.. Enumerable.Range(0, 16).Select(i => (ulong)i)], TestRing.Collect(ring, 16).Select(c => c.UserData).Order());
        }

        using WakeUp wakeUp = new();
        wakeUp.Arm(ring, 1);
        _ = ring.Enter();
        wakeUp.Signal();
        Assert.True(TestRing.Run(ring) > 0);
    }

    [Fact]
    public void The_first_rung_that_the_kernel_knows_is_taken()
    {
        RingOptions options = new() { Entries = 8 };
        using Ring second = Ring.Create(options, [Unknown, RingSetup.SubmitAll, default]);
        Assert.Equal(RingSetup.SubmitAll, second.Setup);
        using Ring last = Ring.Create(options, [Unknown, RingSetup.SubmitAll | Unknown, default]);
        Assert.Equal(default, last.Setup);
    }

    [Fact]
    public void A_kernel_that_knows_no_rung_is_named_as_the_cause()
    {
        RingException refusal = Assert.Throws<RingException>(() => Ring.Create(new RingOptions { Entries = 8 }, [Unknown]));
        Assert.Equal(EINVAL, refusal.ErrorNumber);
        Assert.Contains("6.1 or newer", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_ring_of_an_impossible_size_is_refused()
    {
        foreach (RingOptions options in (RingOptions[])[
            new() { Entries = 0 },
            new() { Entries = RingOptions.MaximumEntries + 1 },
            new() { Entries = 8, CompletionEntries = 7 },
            new() { Entries = 8, CompletionEntries = (2 * RingOptions.MaximumEntries) + 1 }])
        {
            Assert.Throws<ArgumentException>(() => Ring.Create(options));
        }

        using Ring largest = TestRing.Create(RingOptions.MaximumEntries, 2 * RingOptions.MaximumEntries);
        Assert.Equal(2 * RingOptions.MaximumEntries, largest.CompletionEntries);
    }

    [Fact]
    public void Sizes_are_rounded_up_to_a_power_of_two()
    {
        using Ring ring = TestRing.Create(5, 33);
        Assert.Equal(8u, ring.Entries);
        Assert.Equal(64u, ring.CompletionEntries);
    }

    public static TheoryData<int, string, string> Causes => new()
    {
        { ENOSYS, "", "seccomp" },
        { EPERM, "2", "every process" },
        { EPERM, "1", "io_uring_group" },
        { EPERM, "0", "seccomp" },
        { EPERM, "", "seccomp" },
        { ENOMEM, "", "LimitMEMLOCK" },
        { EMFILE, "", "LimitNOFILE" },
        { EAGAIN, "", "TasksMax" },
        { EIO, "", "Input/output error" },
    };

    [Theory]
    [MemberData(nameof(Causes))]
    public void A_refusal_tells_cause_and_remedy_in_one_line(int error, string disabled, string word)
    {
        RingException refusal = RingException.OnCreation(error, disabled);
        Assert.Equal(error, refusal.ErrorNumber);
        Assert.StartsWith("cannot create an io_uring: ", refusal.Message, StringComparison.Ordinal);
        Assert.Contains(word, refusal.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', refusal.Message);
    }

    [Fact]
    public void A_missing_feature_is_named()
    {
        RingException refusal = RingException.OnFeatures(RingFeatures.NoDrop);
        Assert.Contains("NoDrop", refusal.Message, StringComparison.Ordinal);
        Assert.Contains("6.1 or newer", refusal.Message, StringComparison.Ordinal);
    }

    public static TheoryData<int, string> Breaks => new()
    {
        { EBADR, "lost some" },
        { EAGAIN, "no memory" },
        { EEXIST, "another thread" },
        { EIO, "Input/output error" },
    };

    [Theory]
    [MemberData(nameof(Breaks))]
    public void A_break_tells_its_cause(int error, string word)
    {
        RingException failure = RingException.OnEntering(error);
        Assert.Equal(error, failure.ErrorNumber);
        Assert.Contains(word, failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_kernel_is_asked_what_it_supports()
    {
        using Ring ring = TestRing.Create(8);
        Assert.True(ring.Supports(Operation.Nop));
        Assert.True(ring.Supports(Operation.Read));
        Assert.Equal(TestRing.KernelIs(5, 19), ring.Supports(Operation.Command));
        Assert.Equal(TestRing.KernelIs(6, 7), ring.Supports(Operation.FutexWait));
        Assert.Equal(TestRing.KernelIs(6, 7), ring.Supports(Operation.FutexWake));
        Assert.False(ring.Supports((Operation)255));
    }
}
