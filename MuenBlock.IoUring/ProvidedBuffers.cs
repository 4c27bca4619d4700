using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using static System.Runtime.CompilerServices.MethodImplOptions;

namespace MuenBlock.IoUring;

/// <summary>
/// Buffers of equal size from which the kernel picks one for each completion of an entry with <see cref="EntryFlags.BufferSelect"/>
/// (IORING_REGISTER_PBUF_RING, since 5.19). They are offered through a ring in memory, so that giving one back costs a store and no
/// entry. <see cref="Completion.BufferId"/> tells which was picked: it is the caller's until <see cref="Return"/>.
/// One thread at a time may use an instance.
/// </summary>
public sealed unsafe class ProvidedBuffers : IDisposable
{
    /// <summary>The most buffers of a group (io_register_pbuf_ring, io_uring/kbuf.c).</summary>
    public const int MaximumCount = 32768;

    private const nuint PageSize = 4096;

    private readonly Ring _ring;
    private readonly ushort _group;
    private readonly uint _size;
    private readonly uint _mask;
    private BufferSlot* _slots;
    private byte* _buffers;
    private ushort _tail;

    private ProvidedBuffers(Ring ring, ushort group, uint count, uint size)
    {
        _ring = ring;
        _group = group;
        _size = size;
        _mask = count - 1;
        _slots = (BufferSlot*)NativeMemory.AlignedAlloc(count * (nuint)sizeof(BufferSlot), PageSize);
        _buffers = (byte*)NativeMemory.AlignedAlloc(count * (nuint)size, PageSize);
        new Span<byte>(_slots, (int)count * sizeof(BufferSlot)).Clear();
        NativeMemory.Clear(_buffers, count * (nuint)size);
    }

    /// <summary>Makes buffers and offers all of them to a ring. The memory stays until <see cref="Dispose"/>.</summary>
    /// <param name="ring">The ring; it outlives this, or ends with nothing left that uses the group.</param>
    /// <param name="group">The group's number, one of its own for each.</param>
    /// <param name="minimumCount">At least how many, 1 to <see cref="MaximumCount"/>; rounded up to a power of two.</param>
    /// <param name="size">Bytes of each.</param>
    /// <param name="error">0, or the negative errno for which there are none: -EINVAL (the kernel is too old), -EEXIST (the group exists), -ENOMEM.</param>
    /// <returns>The buffers, or null.</returns>
    public static ProvidedBuffers? TryRegister(Ring ring, ushort group, int minimumCount, uint size, out int error)
    {
        ArgumentNullException.ThrowIfNull(ring);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(minimumCount);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(minimumCount, MaximumCount);
        ArgumentOutOfRangeException.ThrowIfZero(size);
        uint count = BitOperations.RoundUpToPowerOf2((uint)minimumCount);
        var buffers = new ProvidedBuffers(ring, group, count, size);
        error = ring.RegisterBufferRing(buffers._slots, count, group);
        if (error < 0)
        {
            buffers.Free();
            return null;
        }

        for (uint id = 0; id < count; id++) buffers.Return((ushort)id);
        return buffers;
    }

    /// <summary>How many there are.</summary>
    public int Count => (int)_mask + 1;

    /// <summary>The first byte of a buffer.</summary>
    /// <param name="id">The buffer, as a completion tells it.</param>
    public byte* this[ushort id]
    {
        [MethodImpl(AggressiveInlining)]
        get => _buffers + ((nuint)(id & _mask) * _size);
    }

    /// <summary>Offers a buffer to the kernel again.</summary>
    /// <param name="id">The buffer.</param>
    [MethodImpl(AggressiveInlining)]
    public void Return(ushort id)
    {
        // The first slot's reserved field is the ring's tail: no store may touch it but the last one.
        BufferSlot* slot = _slots + (_tail & _mask);
        slot->Address = (ulong)this[id];
        slot->Length = _size;
        slot->Id = id;

        // Release of the slot with the tail. Pairs with the kernel's acquire load of it (io_ring_buffer_select).
        Volatile.Write(ref _slots->Tail, ++_tail);
    }

    /// <summary>Takes the buffers back. No entry that picks from them may be under way.</summary>
    public void Dispose()
    {
        if (_slots is null) return;
        _ = _ring.UnregisterBufferRing(_group);
        Free();
    }

    private void Free()
    {
        NativeMemory.AlignedFree(_slots);
        NativeMemory.AlignedFree(_buffers);
        _slots = null;
        _buffers = null;
    }
}
