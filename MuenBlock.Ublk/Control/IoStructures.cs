using System.Runtime.InteropServices;

namespace MuenBlock.Ublk.Control;

/// <summary>A request of the kernel, in the mapped table of its queue: struct ublksrv_io_desc, 24 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
internal struct IoDescriptor
{
    private const uint OperationMask = 0xff;

    /// <summary><see cref="BlockOperation"/> in the low eight bits, <see cref="IoFlags"/> in the others.</summary>
    [FieldOffset(0)]
    public uint OperationFlags;

    /// <summary>The length in sectors of 512 bytes; a zone report's number of zones.</summary>
    [FieldOffset(4)]
    public uint Sectors;

    /// <summary>Where it begins, in sectors of 512 bytes.</summary>
    [FieldOffset(8)]
    public ulong StartSector;

    /// <summary>The address of the tag's buffer; with <see cref="IoFlags.SharedMemory"/> its registration's index (upper half) and an offset.</summary>
    [FieldOffset(16)]
    public ulong Address;

    /// <summary>What is to be done.</summary>
    public readonly BlockOperation Operation => (BlockOperation)(OperationFlags & OperationMask);
}

/// <summary>What a tag's command is given, in its ring entry at byte 48: struct ublksrv_io_cmd, 16 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct IoCommand
{
    /// <summary>The queue.</summary>
    [FieldOffset(0)]
    public ushort QueueId;

    /// <summary>The tag.</summary>
    [FieldOffset(2)]
    public ushort Tag;

    /// <summary>When committing: the length in bytes, or a negative errno. Never a part of the length (invariant I5).</summary>
    [FieldOffset(4)]
    public int Result;

    /// <summary>The tag's buffer; not 0 where the driver copies, 0 where it does not.</summary>
    [FieldOffset(8)]
    public ulong Address;
}

/// <summary>What a batch command is given, in its ring entry at byte 48: struct ublk_batch_io, 16 bytes. Since 7.0.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct BatchIo
{
    /// <summary>The queue.</summary>
    [FieldOffset(0)]
    public ushort QueueId;

    /// <summary>What follows the header of an element.</summary>
    [FieldOffset(2)]
    public BatchFlags Flags;

    /// <summary>Elements.</summary>
    [FieldOffset(4)]
    public ushort Elements;

    /// <summary>Bytes of an element: 8, 16 or 24; 2 when fetching.</summary>
    [FieldOffset(6)]
    public byte ElementBytes;
}

/// <summary>What follows the header of an element (UBLK_BATCH_F_*).</summary>
[Flags]
internal enum BatchFlags : ushort
{
    /// <summary>The zone append's place.</summary>
    ZoneLba = 1 << 0,

    /// <summary>The address of the tag's buffer.</summary>
    BufferAddress = 1 << 1,

    /// <summary>Nothing: a buffer that cannot be registered is left to the server.</summary>
    AutoBufferFallback = 1 << 2,
}

/// <summary>The header of a batch's element: struct ublk_elem_header, 8 bytes. Since 7.0.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
internal struct ElementHeader
{
    /// <summary>The tag.</summary>
    [FieldOffset(0)]
    public ushort Tag;

    /// <summary>The registered buffer.</summary>
    [FieldOffset(2)]
    public ushort BufferIndex;

    /// <summary>As <see cref="IoCommand.Result"/>.</summary>
    [FieldOffset(4)]
    public int Result;
}

/// <summary>What a request is to do (UBLK_IO_OP_*).</summary>
internal enum BlockOperation : byte
{
    /// <summary>Read.</summary>
    Read = 0,

    /// <summary>Write.</summary>
    Write = 1,

    /// <summary>Make durable what was written.</summary>
    Flush = 2,

    /// <summary>Forget: what is there afterwards is undefined.</summary>
    Discard = 3,

    /// <summary>Write the same block many times. The kernel no longer sends it.</summary>
    WriteSame = 4,

    /// <summary>Write zeroes.</summary>
    WriteZeroes = 5,

    /// <summary>Open a zone.</summary>
    ZoneOpen = 10,

    /// <summary>Close a zone.</summary>
    ZoneClose = 11,

    /// <summary>Finish a zone.</summary>
    ZoneFinish = 12,

    /// <summary>Write where the zone's end is.</summary>
    ZoneAppend = 13,

    /// <summary>Empty all zones.</summary>
    ZoneResetAll = 14,

    /// <summary>Empty a zone.</summary>
    ZoneReset = 15,

    /// <summary>Report zones.</summary>
    ReportZones = 18,
}

/// <summary>More about a request, as bits of <see cref="IoDescriptor.OperationFlags"/> (UBLK_IO_F_*).</summary>
[Flags]
internal enum IoFlags : uint
{
    /// <summary>Do not repeat after a device's error.</summary>
    FailFastDevice = 1u << 8,

    /// <summary>Do not repeat after a transport's error.</summary>
    FailFastTransport = 1u << 9,

    /// <summary>Do not repeat after a driver's error.</summary>
    FailFastDriver = 1u << 10,

    /// <summary>A file system's own data.</summary>
    Metadata = 1u << 11,

    /// <summary>Durable before it completes.</summary>
    ForcedUnitAccess = 1u << 13,

    /// <summary>Write zeroes without freeing the place.</summary>
    NoUnmap = 1u << 15,

    /// <summary>Swap.</summary>
    Swap = 1u << 16,

    /// <summary>The server has to register the pages itself.</summary>
    NeedRegisterBuffer = 1u << 17,

    /// <summary>There is integrity data.</summary>
    Integrity = 1u << 18,

    /// <summary>The data is in a registered region.</summary>
    SharedMemory = 1u << 19,
}
