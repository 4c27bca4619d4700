using MuenBlock.IoUring;
using MuenBlock.Protocol.Regions;

namespace MuenBlock.Backend.Serving;

/// <summary>
/// Where the disks of a connection read to and write from: the shared buffer itself, or a bounce buffer where its pages cannot be
/// pinned. That is decided once. Either is registered with the ring if the kernel allows it, which spares each I/O the pinning.
/// </summary>
internal sealed unsafe class DiskMemory : IDisposable
{
    private readonly Region _buffer;
    private bool _wasRegistered;

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

    /// <summary>Whether it is the ring's registered buffer 0.</summary>
    public bool IsRegistered { get; private set; }

    private IoVector Vector => new() { Base = Address, Length = _buffer.Length };

    /// <summary>Registers the memory with the rings of the connection.</summary>
    /// <param name="rings">The rings; they end before this.</param>
    /// <returns>0, or the negative errno for which one of them did not take it: then each I/O pins its pages.</returns>
    public int Register(ReadOnlySpan<Ring> rings)
    {
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
    /// of before. I/O under way keeps them. Where that fails, as it does while the file is too small, each I/O pins its pages until it succeeds.
    /// </summary>
    /// <param name="rings">The rings.</param>
    /// <returns>0, or the negative errno for which the memory is not registered now.</returns>
    public int Renew(ReadOnlySpan<Ring> rings)
    {
        if (Bounce is not null || !_wasRegistered || !(_buffer.MayHaveOtherPages() || !IsRegistered)) return 0;
        int result = 0;
        foreach (Ring ring in rings)
        {
            if (result >= 0) result = ring.UpdateBuffer(0, Vector);
        }

        IsRegistered = result >= 0;
        return result;
    }

    /// <inheritdoc/>
    public void Dispose() => Bounce?.Dispose();
}
