using System.Runtime.InteropServices;

namespace MuenBlock.Ublk.Control;

/// <summary>What the block layer is told of a device: struct ublk_params, 152 bytes. A part counts if <see cref="Types"/> names it.</summary>
[StructLayout(LayoutKind.Explicit, Size = 152)]
internal struct DeviceParameters
{
    /// <summary>Bytes of this struct. <see cref="ControlPlane"/> fills it in.</summary>
    [FieldOffset(0)]
    public uint Length;

    /// <summary>The parts that are given; <see cref="ParameterTypes.Basic"/> must be.</summary>
    [FieldOffset(4)]
    public ParameterTypes Types;

    /// <summary>Block size, size and limits.</summary>
    [FieldOffset(8)]
    public BasicParameters Basic;

    /// <summary>Discards and write-zeroes.</summary>
    [FieldOffset(40)]
    public DiscardParameters Discard;

    /// <summary>Device numbers, which only the driver gives.</summary>
    [FieldOffset(60)]
    public DeviceNumberParameters DeviceNumbers;

    /// <summary>Zones.</summary>
    [FieldOffset(76)]
    public ZonedParameters Zoned;

    /// <summary>How memory must be aligned.</summary>
    [FieldOffset(108)]
    public DmaParameters Dma;

    /// <summary>How a request's memory may be cut.</summary>
    [FieldOffset(120)]
    public SegmentParameters Segment;

    /// <summary>Integrity data.</summary>
    [FieldOffset(136)]
    public IntegrityParameters Integrity;
}

/// <summary>Parts of <see cref="DeviceParameters"/> (UBLK_PARAM_TYPE_*).</summary>
[Flags]
internal enum ParameterTypes : uint
{
    /// <summary><see cref="DeviceParameters.Basic"/>.</summary>
    Basic = 1 << 0,

    /// <summary><see cref="DeviceParameters.Discard"/>.</summary>
    Discard = 1 << 1,

    /// <summary><see cref="DeviceParameters.DeviceNumbers"/>.</summary>
    DeviceNumbers = 1 << 2,

    /// <summary><see cref="DeviceParameters.Zoned"/>.</summary>
    Zoned = 1 << 3,

    /// <summary><see cref="DeviceParameters.Dma"/>.</summary>
    Dma = 1 << 4,

    /// <summary><see cref="DeviceParameters.Segment"/>.</summary>
    Segment = 1 << 5,

    /// <summary><see cref="DeviceParameters.Integrity"/>.</summary>
    Integrity = 1 << 6,
}

/// <summary>Block size, size and limits: struct ublk_param_basic, 32 bytes. A shift is a power of two, in bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
internal struct BasicParameters
{
    /// <summary>What kind of device it is.</summary>
    [FieldOffset(0)]
    public DeviceAttributes Attributes;

    /// <summary>The block size, 9 to 12.</summary>
    [FieldOffset(4)]
    public byte LogicalBlockShift;

    /// <summary>What the disk writes in one piece, at least the block size.</summary>
    [FieldOffset(5)]
    public byte PhysicalBlockShift;

    /// <summary>The I/O size that is best.</summary>
    [FieldOffset(6)]
    public byte OptimalIoShift;

    /// <summary>The smallest I/O size that is good.</summary>
    [FieldOffset(7)]
    public byte MinimumIoShift;

    /// <summary>The largest request in sectors of 512 bytes: 8 at least, <see cref="DeviceInfo.LargestIoBytes"/> at most.</summary>
    [FieldOffset(8)]
    public uint MostSectors;

    /// <summary>A request does not cross a multiple of so many sectors; 0 for no such border.</summary>
    [FieldOffset(12)]
    public uint ChunkSectors;

    /// <summary>The size in sectors of 512 bytes.</summary>
    [FieldOffset(16)]
    public ulong DeviceSectors;

    /// <summary>Segments of a request begin and end at multiples of this plus one; 0 for no such border.</summary>
    [FieldOffset(24)]
    public ulong VirtualBoundaryMask;
}

/// <summary>What kind of device it is (UBLK_ATTR_*).</summary>
[Flags]
internal enum DeviceAttributes : uint
{
    /// <summary>It cannot be written.</summary>
    ReadOnly = 1 << 0,

    /// <summary>It is slow to seek.</summary>
    Rotational = 1 << 1,

    /// <summary>What is written is durable only after a flush. Without it the kernel never sends a flush.</summary>
    VolatileCache = 1 << 2,

    /// <summary>A write can be made durable at once. Ignored without <see cref="VolatileCache"/>.</summary>
    ForcedUnitAccess = 1 << 3,
}

/// <summary>Discards and write-zeroes: struct ublk_param_discard, 20 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 20)]
internal struct DiscardParameters
{
    /// <summary>Where the first granule begins, in bytes.</summary>
    [FieldOffset(0)]
    public uint Alignment;

    /// <summary>A granule in bytes, not 0.</summary>
    [FieldOffset(4)]
    public uint Granularity;

    /// <summary>The largest discard in sectors of 512 bytes; 0 if there is none.</summary>
    [FieldOffset(8)]
    public uint MostDiscardSectors;

    /// <summary>The largest write-zeroes in sectors of 512 bytes; 0 if there is none.</summary>
    [FieldOffset(12)]
    public uint MostWriteZeroesSectors;

    /// <summary>1 where <see cref="MostDiscardSectors"/> is not 0.</summary>
    [FieldOffset(16)]
    public ushort MostDiscardSegments;
}

/// <summary>Device numbers: struct ublk_param_devt, 16 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct DeviceNumberParameters
{
    /// <summary>The major number of /dev/ublkcN.</summary>
    [FieldOffset(0)]
    public uint CharacterMajor;

    /// <summary>Its minor number.</summary>
    [FieldOffset(4)]
    public uint CharacterMinor;

    /// <summary>The major number of /dev/ublkbN; 0 before the start.</summary>
    [FieldOffset(8)]
    public uint DiskMajor;

    /// <summary>Its minor number.</summary>
    [FieldOffset(12)]
    public uint DiskMinor;
}

/// <summary>Zones: struct ublk_param_zoned, 32 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
internal struct ZonedParameters
{
    /// <summary>Zones that may be open at once.</summary>
    [FieldOffset(0)]
    public uint MostOpenZones;

    /// <summary>Zones that may be active at once.</summary>
    [FieldOffset(4)]
    public uint MostActiveZones;

    /// <summary>The largest zone append in sectors of 512 bytes.</summary>
    [FieldOffset(8)]
    public uint MostAppendSectors;
}

/// <summary>How memory must be aligned: struct ublk_param_dma_align, 8 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 8)]
internal struct DmaParameters
{
    /// <summary>A power of two, less one, below a page.</summary>
    [FieldOffset(0)]
    public uint Alignment;
}

/// <summary>How a request's memory may be cut: struct ublk_param_segment, 16 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct SegmentParameters
{
    /// <summary>No segment crosses a multiple of this plus one, a power of two of at least 4096.</summary>
    [FieldOffset(0)]
    public ulong BoundaryMask;

    /// <summary>The largest segment in bytes, at least 4096.</summary>
    [FieldOffset(8)]
    public uint LargestSegment;

    /// <summary>Segments of a request.</summary>
    [FieldOffset(12)]
    public ushort MostSegments;
}

/// <summary>Integrity data: struct ublk_param_integrity, 16 bytes. Since 7.0.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct IntegrityParameters
{
    /// <summary>LBMD_PI_CAP_* (linux/fs.h).</summary>
    [FieldOffset(0)]
    public uint Flags;

    /// <summary>Segments of a request's integrity data.</summary>
    [FieldOffset(4)]
    public ushort MostSegments;

    /// <summary>What one piece of integrity data covers, as a power of two in bytes.</summary>
    [FieldOffset(6)]
    public byte IntervalShift;

    /// <summary>Bytes of one piece.</summary>
    [FieldOffset(7)]
    public byte MetadataSize;

    /// <summary>Where the protection information begins in it.</summary>
    [FieldOffset(8)]
    public byte ProtectionOffset;

    /// <summary>LBMD_PI_CSUM_* (linux/fs.h).</summary>
    [FieldOffset(9)]
    public byte ChecksumType;

    /// <summary>Bytes of the application's tag.</summary>
    [FieldOffset(10)]
    public byte TagSize;
}
