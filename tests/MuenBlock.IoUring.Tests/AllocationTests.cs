namespace MuenBlock.IoUring.Tests;

public sealed class AllocationTests
{
    [Fact]
    public void Submitting_and_collecting_allocates_nothing()
    {
        const int Batch = 100;
        const int Batches = 1000;
        using Ring ring = TestRing.Create(128);
        ring.RegisterSelf();
        Turn();
        long before = GC.GetAllocatedBytesForCurrentThread();
        ulong completed = 0;
        for (int i = 0; i < Batches; i++) completed += Turn();
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
        Assert.Equal(100_000ul, completed);

        ulong Turn()
        {
            TestRing.QueueNops(ring, 0, Batch);
            _ = ring.Enter(Batch, TestRing.Patience);
            ulong taken = 0;
            while (ring.TryTake(out Completion completion))
            {
                if (completion.Result == 0) taken++;
            }

            ring.Release();
            return taken;
        }
    }
}
