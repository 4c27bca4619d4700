namespace MuenBlock.Protocol.Programs;

/// <summary>
/// Watches that a thread allocates nothing (invariant I4), by the runtime's own counters: bytes that this thread allocated, and
/// collections of the whole process. To be used on the thread that it watches.
/// </summary>
public sealed class AllocationMeter
{
    private long _bytes;
    private int _collections;

    /// <summary>Bytes that the thread has allocated since <see cref="Restart"/>.</summary>
    public long Bytes => GC.GetAllocatedBytesForCurrentThread() - _bytes;

    /// <summary>Garbage collections of the process since <see cref="Restart"/>.</summary>
    public int Collections => GC.CollectionCount(0) - _collections;

    /// <summary>Begins to count.</summary>
    public void Restart()
    {
        _bytes = GC.GetAllocatedBytesForCurrentThread();
        _collections = GC.CollectionCount(0);
    }
}
