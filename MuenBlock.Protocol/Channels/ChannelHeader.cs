using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace MuenBlock.Protocol.Channels;

/// <summary>
/// The 64 bytes that a channel begins with (SHMStream v2, docs/wire-format.md, "Channel"). It lies in shared memory: nobody copies it as a
/// whole, and every access is one of the ordered ones below.
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = Size)]
internal unsafe struct ChannelHeader
{
    /// <summary>Bytes before the first packet.</summary>
    public const int Size = 64;

    /// <summary>Marks a region as a channel (SHMStream v2, docs/wire-format.md, "Channel").</summary>
    public const ulong Marker = 0x487312b6b79a9b6d;

    [FieldOffset(0)] public ulong Transport;
    [FieldOffset(8)] public ulong Epoch;
    [FieldOffset(16)] public ulong Protocol;
    [FieldOffset(24)] public ulong PacketSize;
    [FieldOffset(32)] public ulong Elements;

    /// <summary>Reserved by SHMStream, ignored by every reader: the writer's wake hint (docs/wire-format.md, "Our extensions").</summary>
    [FieldOffset(40)] public ulong Hint;

    /// <summary>wsc: packets whose writing has begun. A running total.</summary>
    [FieldOffset(48)] public ulong WriteStart;

    /// <summary>wc: packets written. A running total. Its low half is the futex that the reader sleeps on.</summary>
    [FieldOffset(56)] public ulong Written;

    /// <summary>The futex of a channel: the low half of wc (every implementation is little-endian).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint* Futex(ChannelHeader* header) => (uint*)&header->Written;

    /// <summary>How many packets a region holds; 0 where not even one fits.</summary>
    public static uint ElementsIn(nuint length, int packetSize) =>
        length < Size ? 0 : (uint)Math.Min((length - Size) / (nuint)packetSize, int.MaxValue);
}
