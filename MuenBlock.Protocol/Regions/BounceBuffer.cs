using System.Runtime.InteropServices;
using MuenBlock.IoUring;
using MuenBlock.Protocol.Programs;
using Tmds.Linux;
using static Tmds.Linux.LibC;

namespace MuenBlock.Protocol.Regions;

/// <summary>
/// Private memory that stands in for a region whose pages cannot be pinned. What a kernel would copy or transfer to the region goes
/// here, and the connection's thread copies it on; and the other way round.
/// A byte has the same offset here as in the region. So there is nothing to allocate per I/O, two transfers meet here only where
/// they would have met in the region, and one that is under way for a peer never lies where another peer's data was.
/// </summary>
public sealed unsafe class BounceBuffer : IDisposable
{
    /// <summary>The largest, in bytes: what io_uring registers in one piece, and a bound on what a region can make a program take.</summary>
    public const ulong MostBytes = Ring.LargestBuffer;

    private readonly byte* _region;

    /// <summary>Takes the memory, all of it now.</summary>
    /// <param name="region">The region that it stands in for. It outlives this.</param>
    /// <param name="length">How much of the region, from its beginning, in bytes.</param>
    /// <exception cref="ProgramException">It is too much, or there is no memory.</exception>
    public BounceBuffer(Region region, nuint length)
    {
        ArgumentNullException.ThrowIfNull(region);
        ArgumentOutOfRangeException.ThrowIfZero(length);
        if (length > MostBytes)
        {
            throw new ProgramException(
                ExitCode.Resource,
                $"the pages of region {region.Name} cannot be pinned, and a bounce buffer for {length} bytes of it would be too large: {MostBytes} are the most; use a smaller region");
        }

        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, region.Length);
        void* memory = mmap(null, (size_t)(ulong)length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (memory == MAP_FAILED)
            throw new ProgramException(ExitCode.Environment, $"cannot take {length} bytes for a bounce buffer, as region {region.Name} cannot be pinned: {PosixFile.Explain(errno)}");
        _region = region.Memory;
        Memory = (byte*)memory;
        Length = length;
    }

    /// <summary>The first byte, at the beginning of a page.</summary>
    public byte* Memory { get; private set; }

    /// <summary>Its size in bytes.</summary>
    public nuint Length { get; }

    /// <summary>Copies a range of the region to its place here. The region may change meanwhile: what is here then is a mixture, and stays as it is.</summary>
    /// <param name="offset">Where, in bytes.</param>
    /// <param name="length">How much, in bytes.</param>
    public void FromRegion(ulong offset, uint length)
    {
        Check(offset, length);
        NativeMemory.Copy(_region + offset, Memory + offset, length);
    }

    /// <summary>Copies a range of this memory to its place in the region.</summary>
    /// <param name="offset">Where, in bytes.</param>
    /// <param name="length">How much, in bytes.</param>
    public void ToRegion(ulong offset, uint length)
    {
        Check(offset, length);
        NativeMemory.Copy(Memory + offset, _region + offset, length);
    }

    /// <summary>Gives the memory back. No I/O uses it any more.</summary>
    public void Dispose()
    {
        if (Memory != null) _ = munmap(Memory, (size_t)(ulong)Length);
        Memory = null;
    }

    // Whoever calls has checked what the peer asked for; a copy beside the memory would be worse than an end of the program.
    private void Check(ulong offset, uint length)
    {
        ObjectDisposedException.ThrowIf(Memory == null, this);
        if (length > Length || offset > Length - length) throw new ArgumentOutOfRangeException(nameof(offset), offset, $"{length} bytes from there on leave a bounce buffer of {Length} bytes");
    }
}
