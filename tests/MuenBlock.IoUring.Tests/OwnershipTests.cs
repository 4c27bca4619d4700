using static Tmds.Linux.LibC;

namespace MuenBlock.IoUring.Tests;

public sealed class OwnershipTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Another_thread_cannot_enter(bool registered)
    {
        using Ring ring = TestRing.Create(8);
        if (registered) ring.RegisterSelf();
        TestRing.QueueNops(ring, 0, 1);
        RingException? refusal = OnAnotherThread(() => ring.Enter());
        Assert.NotNull(refusal);
        Assert.Equal(EEXIST, refusal.ErrorNumber);
        Assert.Contains("another thread", refusal.Message, StringComparison.Ordinal);
        Assert.Equal(0, TestRing.Run(ring));
    }

    [Fact]
    public unsafe void The_kernel_refuses_another_thread_with_the_same_message()
    {
        using Ring ring = TestRing.Create(8);
        int error = 0;
        Thread other = new(() =>
        {
            if (Kernel.Enter(Kernel.EnterCall, ring.FileDescriptor, 0, 0, (uint)EnterFlags.GetEvents, null, 0) < 0)
                error = System.Runtime.InteropServices.Marshal.GetLastSystemError();
        });
        other.Start();
        other.Join();
        Assert.Equal(EEXIST, error);
        Assert.Equal(RingException.OnForeignThread().Message, RingException.OnEntering(error).Message);
    }

    [Fact]
    public void Threads_may_take_turns_at_a_ring_without_a_single_issuer()
    {
        using Ring ring = Ring.Create(new RingOptions { Entries = 8, SingleIssuer = false });
        ring.RegisterSelf();
        int result = -1;
        Assert.Null(OnAnotherThread(() =>
        {
            TestRing.QueueNops(ring, 0, 1);
            result = TestRing.Run(ring);
        }));
        Assert.Equal(0, result);
    }

    [Fact]
    public void A_registered_ring_works_like_one_that_is_not()
    {
        using Ring first = TestRing.Create(8);
        using Ring second = TestRing.Create(8);
        first.RegisterSelf();
        first.RegisterSelf();
        second.RegisterSelf();
        TestRing.QueueNops(first, 1, 1);
        TestRing.QueueNops(second, 2, 1);
        Assert.Equal(1ul, Assert.Single(TestRing.Collect(first, 1)).UserData);
        Assert.Equal(2ul, Assert.Single(TestRing.Collect(second, 1)).UserData);
    }

    [Fact]
    public void The_end_gives_the_ring_back_to_the_kernel()
    {
        // A thread can register 16 rings (IO_RINGFD_REG_MAX): more than that only if each is given back.
        for (int i = 0; i < 100; i++)
        {
            Ring ring = TestRing.Create(8);
            ring.RegisterSelf();
            string link = $"/proc/self/fd/{ring.FileDescriptor}";
            Assert.Contains("io_uring", new FileInfo(link).LinkTarget!, StringComparison.Ordinal);
            TestRing.QueueNops(ring, 0, 1);
            Assert.Equal(0, TestRing.Run(ring));
            Assert.True(ring.IsSelfRegistered);
            ring.Dispose();
            ring.Dispose();
        }
    }

    [Fact]
    public void A_ring_that_has_ended_is_not_usable()
    {
        Ring ring = TestRing.Create(8);
        ring.Dispose();
        Assert.Throws<ObjectDisposedException>(() => ring.Enter());
        Assert.Throws<ObjectDisposedException>(() => _ = ring.NextEntry().Flags);
        Assert.Equal(-EBADF, ring.RegisterFiles([0]));
        Assert.Throws<NullReferenceException>(() => ring.TryTake(out _));
        Assert.Equal(-1, ring.FileDescriptor);
    }

    private static RingException? OnAnotherThread(Action action)
    {
        RingException? refusal = null;
        Thread other = new(() =>
        {
            try
            {
                action();
            }
            catch (RingException e)
            {
                refusal = e;
            }
        });
        other.Start();
        other.Join();
        return refusal;
    }
}
