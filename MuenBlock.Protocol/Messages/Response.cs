using System.Runtime.InteropServices;

namespace MuenBlock.Protocol.Messages;

/// <summary>An answer: 16 bytes, little-endian (docs/wire-format.md, "Request and response"). Kind, device and tag are the request's.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
public struct Response
{
    /// <summary>The request's kind.</summary>
    [FieldOffset(0)] public RequestKind Kind;

    /// <summary>The request's device.</summary>
    [FieldOffset(2)] public ushort Device;

    /// <summary>The request's tag.</summary>
    [FieldOffset(4)] public uint Tag;

    /// <summary>For I/O a <see cref="Messages.Status"/>; for an information request the value asked for, 0 if unknown.</summary>
    [FieldOffset(8)] public ulong Status;
}
