using BenchmarkDotNet.Attributes;
using MuenBlock.IoUring;

namespace MuenBlock.Bench;

/// <summary>
/// What an operation costs that costs the kernel nothing: a NOP, from its entry to its completion. One thread, one io_uring_enter a
/// batch; the figures are per operation. System calls are dear on a virtual machine, so compare rows of one run only.
/// </summary>
[MemoryDiagnoser]
#pragma warning disable CA1001 // BenchmarkDotNet disposes of the ring through Cleanup, and derives from this class.
public class RingBenchmarks
#pragma warning restore CA1001
{
    private const int Operations = 1024;
    private Ring? _ring;

    [Params(1, 16, 64)]
    public int Batch { get; set; }

    [Params(false, true)]
    public bool Registered { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _ring = Ring.Create(new RingOptions { Entries = 64 });
        if (Registered) _ring.RegisterSelf();
    }

    [Benchmark(OperationsPerInvoke = Operations)]
    public int Nop()
    {
        Ring ring = _ring!;
        int taken = 0;
        while (taken < Operations)
        {
            for (int i = 0; i < Batch; i++) ring.NextEntry().PrepareNop();
            _ = ring.Enter((uint)Batch);
            while (ring.TryTake(out _)) taken++;
            ring.Release();
        }

        return taken;
    }

    [GlobalCleanup]
    public void Cleanup() => _ring?.Dispose();
}
