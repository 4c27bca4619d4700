using System.Runtime.InteropServices;

namespace MuenBlock.Protocol.Channels;

/// <summary>Makes epochs (SHMStream v2, docs/wire-format.md, "Channel"): 64 random bits, so that no run of a program looks like another.</summary>
public static class Epoch
{
    /// <summary>A new epoch, not 0.</summary>
    /// <returns>Random bits. They need to differ, not to be secret: the kernel's through a GUID do, without a cryptography library.</returns>
    public static ulong New()
    {
        Guid random = Guid.NewGuid();
        ReadOnlySpan<ulong> halves = MemoryMarshal.Cast<Guid, ulong>(new ReadOnlySpan<Guid>(in random));
        ulong epoch = halves[0] ^ halves[1];
        return epoch != 0 ? epoch : 1;
    }
}
