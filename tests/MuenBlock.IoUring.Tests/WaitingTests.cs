using System.Diagnostics;
using System.Runtime.InteropServices;
using static Tmds.Linux.LibC;

namespace MuenBlock.IoUring.Tests;

public sealed unsafe partial class WaitingTests
{
    private const long GetThreadId = 186; // __NR_gettid, asm/unistd_64.h
    private const long SignalThread = 234; // __NR_tgkill
    private const int User2 = 12; // SIGUSR2, asm/signal.h

    // Stays to the end of the process: a signal that is handled after the last handler is gone kills it.
    private static readonly PosixSignalRegistration s_handler =
        PosixSignalRegistration.Create((PosixSignal)User2, context => context.Cancel = true);

    [Fact]
    public void A_poll_tells_that_a_pipe_can_be_read()
    {
        using Pipe pipe = new();
        using Ring ring = TestRing.Create(8);
        ring.NextEntry().PreparePoll(pipe.ReadEnd, (uint)POLLIN);
        _ = ring.Enter();
        Assert.False(ring.HasNews);
        pipe.WriteByte();
        Assert.Equal(POLLIN, TestRing.Run(ring));
    }

    [Fact]
    public void A_multishot_poll_stays_armed()
    {
        using Pipe pipe = new();
        using Ring ring = TestRing.Create(8);
        ring.NextEntry().PreparePoll(pipe.ReadEnd, (uint)POLLIN, multishot: true);
        for (int i = 0; i < 3; i++)
        {
            _ = ring.Enter();
            pipe.WriteByte();
            Completion completion = Assert.Single(TestRing.Collect(ring, 1));
            Assert.Equal(POLLIN, completion.Result & POLLIN);
            Assert.True(completion.More);
        }
    }

    [Fact]
    public void A_timeout_expires()
    {
        using Ring ring = TestRing.Create(8);
        KernelTimespec time = new() { Nanoseconds = 2_000_000 };
        ring.NextEntry().PrepareTimeout(&time);
        Assert.Equal(-ETIME, TestRing.Run(ring));
    }

    [Fact]
    public void A_timeout_ends_when_enough_has_completed()
    {
        using Ring ring = TestRing.Create(8);
        KernelTimespec time = new() { Seconds = 1000 };
        ref SubmissionEntry timeout = ref ring.NextEntry();
        timeout.PrepareTimeout(&time, count: 2);
        timeout.UserData = 9;
        TestRing.QueueNops(ring, 0, 2);
        Assert.Equal(0, TestRing.Collect(ring, 3).Single(c => c.UserData == 9).Result);
    }

    [Fact]
    public void A_timeout_can_be_a_point_on_the_clock()
    {
        using Ring ring = TestRing.Create(8);
        KernelTimespec past = new() { Seconds = 1000 };
        ring.NextEntry().PrepareTimeout(&past, 0, TimeoutFlags.Absolute | TimeoutFlags.RealClock);
        Assert.Equal(-ETIME, TestRing.Run(ring));
    }

    [Fact]
    public void Waiting_ends_at_its_timeout()
    {
        using Ring ring = TestRing.Create(8);
        long start = Stopwatch.GetTimestamp();
        Assert.Equal(0u, ring.Enter(1, 20_000_000));

        // Never early: a clock cannot run faster because the machine is busy.
        Assert.True(Stopwatch.GetElapsedTime(start) >= TimeSpan.FromMilliseconds(20));
        Assert.False(ring.TryTake(out _));
        Assert.Equal(1ul, ring.Enters);
    }

    [Fact]
    public void What_is_queued_is_submitted_even_if_the_wait_times_out()
    {
        using Ring ring = TestRing.Create(8);
        TestRing.QueueNops(ring, 3, 1);
        Assert.Equal(1u, ring.Enter(2, 1_000_000));
        Assert.True(ring.TryTake(out Completion completion));
        Assert.Equal(3ul, completion.UserData);
    }

    [Fact]
    public void An_entry_is_cancelled_by_its_user_data()
    {
        using Pipe pipe = new();
        using Ring ring = TestRing.Create(8);
        ref SubmissionEntry poll = ref ring.NextEntry();
        poll.PreparePoll(pipe.ReadEnd, (uint)POLLIN);
        poll.UserData = 77;
        ref SubmissionEntry cancel = ref ring.NextEntry();
        cancel.PrepareCancel(77);
        cancel.UserData = 1;
        ref SubmissionEntry nothing = ref ring.NextEntry();
        nothing.PrepareCancel(78);
        nothing.UserData = 2;
        List<Completion> completions = TestRing.Collect(ring, 3);
        Assert.Equal(-ECANCELED, completions.Single(c => c.UserData == 77).Result);
        Assert.Equal(0, completions.Single(c => c.UserData == 1).Result);
        Assert.Equal(-ENOENT, completions.Single(c => c.UserData == 2).Result);
    }

    [Fact]
    public void A_signal_ends_the_wait_and_loses_nothing()
    {
        Assert.NotNull(s_handler);
        using WakeUp end = new();
        int thread = 0;
        bool returned = false;
        ulong delivered = 0;
        Thread waiter = new(() =>
        {
            using Ring ring = TestRing.Create(8);
            end.Arm(ring, 42);
            _ = ring.Enter();
            Volatile.Write(ref thread, (int)Call(GetThreadId));
            _ = ring.Enter(1, TestRing.Patience);
            bool early = !ring.TryTake(out _);
            Volatile.Write(ref returned, early);
            if (early) delivered = Assert.Single(TestRing.Collect(ring, 1)).UserData;
        });
        waiter.Start();

        // The first signals may come before the thread waits.
        for (int i = 0; i < 2000 && !Volatile.Read(ref returned); i++)
        {
            if (Volatile.Read(ref thread) != 0) _ = Call(SignalThread, Environment.ProcessId, thread, User2);
            Thread.Sleep(1);
        }

        end.Signal();
        waiter.Join();
        Assert.True(returned);
        Assert.Equal(42ul, delivered);
    }

    [LibraryImport("libc", EntryPoint = "syscall")]
    private static partial long Call(long number, long first = 0, long second = 0, long third = 0);

    private sealed class Pipe : IDisposable
    {
        private readonly int _writeEnd;

        public Pipe()
        {
            int* ends = stackalloc int[2];
            Assert.Equal(0, pipe2(ends, O_CLOEXEC));
            (ReadEnd, _writeEnd) = (ends[0], ends[1]);
        }

        public int ReadEnd { get; }

        public void WriteByte()
        {
            byte one = 1;
            Assert.Equal(1, (long)write(_writeEnd, &one, 1));
        }

        public void Dispose()
        {
            _ = close(ReadEnd);
            _ = close(_writeEnd);
        }
    }
}
