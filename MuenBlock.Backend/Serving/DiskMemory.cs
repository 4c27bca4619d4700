using MuenBlock.IoUring;
using MuenBlock.Protocol.Regions;

namespace MuenBlock.Backend.Serving;

/// <summary>
/// Where the disks of a connection read to and write from: the shared buffer itself, or a bounce buffer where its pages cannot be
/// pinned. That is decided once. Either is registered with the ring if the kernel allows it, which spares each I/O the pinning.
/// </summary>
internal sealed unsafe class DiskMemory : IDisposable
{
    private const int Enomem = 12; // asm-generic/errno-base.h

    // What the kernel lets go of is given back within a second, on some kernels: so no client can make it hold more than a few buffers.
    private const long RenewMilliseconds = 1_000;

    private readonly Region _buffer;
    private bool _wasRegistered;
    private bool _isEmpty;
    private long _renewedAt = long.MinValue;
    private long _unregisteredAt = long.MinValue;

    /// <summary>Decides what it is, and takes what memory that needs.</summary>
    /// <param name="buffer">The shared buffer.</param>
    /// <param name="canBePinned">Whether the kernel can take hold of its pages.</param>
    public DiskMemory(Region buffer, bool canBePinned)
    {
        _buffer = buffer;
        Bounce = canBePinned ? null : new BounceBuffer(buffer, buffer.Length);
    }

    /// <summary>The first byte. An offset in the shared buffer is the same here.</summary>
    public byte* Address => Bounce is null ? _buffer.Memory : Bounce.Memory;

    /// <summary>The bounce buffer; null where the disks use the shared buffer itself.</summary>
    public BounceBuffer? Bounce { get; }

    /// <summary>Whether it is the ring's registered buffer 0, with its present pages.</summary>
    public bool IsRegistered { get; private set; }

    private IoVector Vector => new() { Base = Address, Length = _buffer.Length };

    /// <summary>Registers the memory with the rings of the connection.</summary>
    /// <param name="rings">The rings; they end before this.</param>
    /// <returns>0, or the negative errno for which one of them did not take it: then each I/O pins its pages.</returns>
    public int Register(ReadOnlySpan<Ring> rings)
    {
        // From now on a change of the file is news. Before the registration, so that none is missed.
        _ = _buffer.MayHaveOtherPages();
        int result = 0;
        foreach (Ring ring in rings)
        {
            if (result >= 0) result = ring.RegisterBuffers([Vector]);
        }

        IsRegistered = _wasRegistered = result >= 0;
        return result;
    }

    /// <summary>
    /// Lets the rings take hold of the shared buffer's pages anew if they may be others: after its file was truncated they still have those
    /// of before. I/O under way keeps them, and kernels before 6.13 keep them for all I/O that was under way, whatever it uses: so they are not
    /// exchanged again before that has ended. Meanwhile, and where it fails, as it does while the file is too small, each I/O pins its pages.
    /// </summary>
    /// <param name="update">Puts memory in the place of the registered buffer of every ring, and gives 0 or a negative errno; no memory empties it.</param>
    /// <param name="now">The time, in milliseconds of a clock that does not go back.</param>
    /// <param name="oldest">When the oldest request that is under way came; <see cref="long.MaxValue"/> if none is.</param>
    /// <returns>0, or the negative errno for which the memory is not registered now.</returns>
    public int Renew(Func<IoVector, int> update, long now, long oldest)
    {
        if (Bounce is not null || !_wasRegistered) return 0;
        if (_buffer.MayHaveOtherPages() && IsRegistered)
        {
            IsRegistered = false;
            _unregisteredAt = now;
        }

        if (IsRegistered || now < _renewedAt + RenewMilliseconds || oldest <= _renewedAt) return 0;
        _renewedAt = now;
        int result = update(Vector);
        IsRegistered = result >= 0;
        if (IsRegistered)
        {
            _isEmpty = false;
        }
        else if (result == -Enomem && !_isEmpty)
        {
            // The kernel counts the new pages before it gives back the old ones, and the limit on locked memory may be for one buffer: one after the other.
            // What was prepared for the registered buffer has to have ended, as it might find none.
            if (oldest <= _unregisteredAt) return 0;
            _isEmpty = update(default) >= 0;
            if (_isEmpty) return 0;
        }

        return result;
    }

    /// <inheritdoc/>
    public void Dispose() => Bounce?.Dispose();
}
