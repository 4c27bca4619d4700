using System.Runtime.InteropServices;

namespace MuenBlock.Protocol.Messages;

/// <summary>A request: 32 bytes, little-endian (docs/wire-format.md, "Request and response").</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
public struct Request
{
    /// <summary>What is asked for.</summary>
    [FieldOffset(0)] public RequestKind Kind;

    /// <summary>Which device of the connection: 0 to <see cref="RequestKind.MaxDevices"/> - 1.</summary>
    [FieldOffset(2)] public ushort Device;

    /// <summary>The client's name for the request, not used again while it is in flight.</summary>
    [FieldOffset(4)] public uint Tag;

    /// <summary>Bytes, a multiple of the block length.</summary>
    [FieldOffset(8)] public ulong Length;

    /// <summary>Where on the device, in <see cref="OffsetUnit"/>s.</summary>
    [FieldOffset(16)] public ulong DeviceOffset;

    /// <summary>Where in the buffer, in bytes, aligned to the block length.</summary>
    [FieldOffset(24)] public ulong BufferOffset;
}
