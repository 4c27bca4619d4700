using System.Runtime.InteropServices;

namespace MuenBlock.Ublk.Control;

/// <summary>What a control command is given, in its ring entry at byte 48: struct ublksrv_ctrl_cmd, 32 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
internal struct ControlCommand
{
    /// <summary><see cref="QueueId"/> of a command that is not about a queue.</summary>
    public const ushort NoQueue = 0xffff;

    /// <summary>The device.</summary>
    [FieldOffset(0)]
    public uint DeviceId;

    /// <summary>The queue, or <see cref="NoQueue"/>.</summary>
    [FieldOffset(4)]
    public ushort QueueId;

    /// <summary>Bytes at <see cref="Address"/>.</summary>
    [FieldOffset(6)]
    public ushort Length;

    /// <summary>What the command reads or writes.</summary>
    [FieldOffset(8)]
    public ulong Address;

    /// <summary>A number that the command takes (data[0]).</summary>
    [FieldOffset(16)]
    public ulong Argument;

    /// <summary>Bytes of the device's path at the beginning of what is at <see cref="Address"/>; 0 without one.</summary>
    [FieldOffset(24)]
    public ushort PathLength;
}

/// <summary>A device as the driver keeps it: struct ublksrv_ctrl_dev_info, 64 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 64)]
internal struct DeviceInfo
{
    /// <summary><see cref="DeviceId"/> of a device that is to get any free id.</summary>
    public const uint AnyId = 0xffff_ffff;

    /// <summary>Hardware queues; the driver takes no more than there are CPUs.</summary>
    [FieldOffset(0)]
    public ushort HardwareQueues;

    /// <summary>Tags of a queue, at most <see cref="UblkLimits.DeepestQueue"/>.</summary>
    [FieldOffset(2)]
    public ushort QueueDepth;

    /// <summary>What became of the device.</summary>
    [FieldOffset(4)]
    public DeviceState State;

    /// <summary>Bytes of a descriptor with <see cref="UblkFeatures.IoDescriptorSize"/>; otherwise 0.</summary>
    [FieldOffset(6)]
    public ushort IoDescriptorSize;

    /// <summary>The largest request in bytes; rounded down to a page.</summary>
    [FieldOffset(8)]
    public uint LargestIoBytes;

    /// <summary>The N of /dev/ublkbN.</summary>
    [FieldOffset(12)]
    public uint DeviceId;

    /// <summary>The process that serves, as the caller sees it; -1 if there is none.</summary>
    [FieldOffset(16)]
    public int ServerPid;

    /// <summary>What the device uses.</summary>
    [FieldOffset(24)]
    public UblkFeatures Flags;

    /// <summary>The server's own; the driver keeps it and does not look at it. See <see cref="Ownership"/>.</summary>
    [FieldOffset(32)]
    public ulong ServerFlags;

    /// <summary>The user who added an unprivileged device.</summary>
    [FieldOffset(40)]
    public uint OwnerUser;

    /// <summary>The group of that user.</summary>
    [FieldOffset(44)]
    public uint OwnerGroup;

    /// <summary>Whether it has lost its server and waits for another.</summary>
    public readonly bool Waits => State is DeviceState.Quiesced or DeviceState.FailIo;

    /// <summary>The process that serves; null if there is none, or none that is visible from here.</summary>
    /// <remarks>One that waits for another server still bears the number of the last one, which may belong to any process by now.</remarks>
    public readonly int? Server => Waits || ServerPid <= 0 ? null : ServerPid;
}

/// <summary>What became of a device (UBLK_S_DEV_*).</summary>
internal enum DeviceState : ushort
{
    /// <summary>Not started, or stopped.</summary>
    Dead = 0,

    /// <summary>There is a block device, and a server.</summary>
    Live = 1,

    /// <summary>The server is gone; I/O waits for the next one.</summary>
    Quiesced = 2,

    /// <summary>The server is gone; I/O fails until the next one comes.</summary>
    FailIo = 3,
}

/// <summary>A region of the server's memory from which I/O need not be copied: struct ublk_shmem_buf_reg, 24 bytes. Since 7.1.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
internal struct SharedBufferRegistration
{
    /// <summary>The region, aligned to a page.</summary>
    [FieldOffset(0)]
    public ulong Address;

    /// <summary>Bytes, whole pages, at most 4 GiB.</summary>
    [FieldOffset(8)]
    public ulong Length;

    /// <summary>How it may be used.</summary>
    [FieldOffset(16)]
    public SharedBufferFlags Flags;
}

/// <summary>How a registered region may be used (UBLK_SHMEM_BUF_*).</summary>
[Flags]
internal enum SharedBufferFlags : uint
{
    /// <summary>Only writes to the device come from there.</summary>
    ReadOnly = 1 << 0,
}
