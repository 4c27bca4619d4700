using Tmds.Linux;
using static Tmds.Linux.LibC;

namespace MuenBlock.IoUring.Tests;

public sealed unsafe class FutexTests
{
    [Fact]
    public void A_futex_that_does_not_hold_what_is_expected_is_not_waited_for()
    {
        Assert.SkipUnless(TestRing.KernelIs(6, 7), "a ring's futexes need Linux 6.7");
        using SharedWord word = new();
        using Ring ring = TestRing.Create(8);
        *word.First = 1;
        ring.NextEntry().PrepareFutexWait(word.First, 2);
        Assert.Equal(-EAGAIN, TestRing.Run(ring));
    }

    [Fact]
    public void A_wake_through_another_mapping_on_another_thread_ends_the_wait()
    {
        Assert.SkipUnless(TestRing.KernelIs(6, 7), "a ring's futexes need Linux 6.7");
        using SharedWord word = new();
        using Ring ring = TestRing.Create(8);
        ref SubmissionEntry wait = ref ring.NextEntry();
        wait.PrepareFutexWait(word.First, 0);
        wait.UserData = 5;
        _ = ring.Enter();
        Assert.False(ring.HasNews);

        int woken = -1;
        Thread waker = new(() =>
        {
            using Ring other = TestRing.Create(8);
            Volatile.Write(ref *word.Second, 1);
            other.NextEntry().PrepareFutexWake(word.Second, 1);
            woken = TestRing.Run(other);
        });
        waker.Start();
        Completion completion = Assert.Single(TestRing.Collect(ring, 1));
        waker.Join();

        Assert.Equal(5ul, completion.UserData);
        Assert.Equal(0, completion.Result);
        Assert.Equal(1u, *word.First);
        Assert.Equal(1, woken);
    }

    [Fact]
    public void A_wake_wakes_as_many_as_it_is_told()
    {
        Assert.SkipUnless(TestRing.KernelIs(6, 7), "a ring's futexes need Linux 6.7");
        using SharedWord word = new();
        using Ring ring = TestRing.Create(8);
        for (ulong i = 0; i < 3; i++)
        {
            ref SubmissionEntry wait = ref ring.NextEntry();
            wait.PrepareFutexWait(word.First, 0);
            wait.UserData = i;
        }

        ref SubmissionEntry wake = ref ring.NextEntry();
        wake.PrepareFutexWake(word.Second, 2);
        wake.UserData = 9;
        List<Completion> completions = TestRing.Collect(ring, 3);
        Assert.Equal(2, completions.Single(c => c.UserData == 9).Result);
        Assert.Equal(2, completions.Count(c => c.UserData < 3 && c.Result == 0));
    }

    /// <summary>One word of a file, mapped twice, as two processes would map it.</summary>
    private sealed class SharedWord : IDisposable
    {
        private static readonly size_t s_pageSize = 4096;
        private readonly TestFile _file = new("/dev/shm");

        public SharedWord()
        {
            First = (uint*)mmap(null, s_pageSize, PROT_READ | PROT_WRITE, MAP_SHARED, _file.Descriptor, 0);
            Second = (uint*)mmap(null, s_pageSize, PROT_READ | PROT_WRITE, MAP_SHARED, _file.Descriptor, 0);
            Assert.True(First != MAP_FAILED && Second != MAP_FAILED && First != Second);
        }

        public uint* First { get; }

        public uint* Second { get; }

        public void Dispose()
        {
            _ = munmap(First, s_pageSize);
            _ = munmap(Second, s_pageSize);
            _file.Dispose();
        }
    }
}
