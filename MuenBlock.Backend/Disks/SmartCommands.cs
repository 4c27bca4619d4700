using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Regions;
using static Tmds.Linux.LibC;

namespace MuenBlock.Backend.Disks;

/// <summary>
/// Reads a disk's SMART data: log page 02h of an NVMe drive (NVM Express base specification, "SMART / Health Information"), or
/// SMART READ DATA of an ATA disk, through SCSI (ATA8-ACS 7.52; SAT-3, "ATA PASS-THROUGH (16)"). Both block until the drive has answered.
/// The kernel wants CAP_SYS_ADMIN for the first and CAP_SYS_RAWIO for the second.
/// </summary>
internal static unsafe class SmartCommands
{
    /// <summary>Bytes of either page.</summary>
    public const int PageSize = 512;

    // The kernel's own, a minute by default. A drive that has not answered by then is taken for dead and reset, with everybody's I/O: no client's question is worth a shorter one.
    private const int NoTimeoutOfOurs = 0;

    private const int NvmeAdminCommand = unchecked((int)0xc0484e41); // NVME_IOCTL_ADMIN_CMD, linux/nvme_ioctl.h
    private const byte GetLogPage = 0x02;
    private const uint HealthLog = 0x02;
    private const uint WholeDrive = 0xffff_ffff; // as namespace
    private const int CriticalWarning = 0; // its byte in the page; a bit for each reason

    private const int SgIo = 0x2285; // SG_IO, scsi/sg.h
    private const int FromDevice = -3; // SG_DXFER_FROM_DEV
    private const int NoData = -1; // SG_DXFER_NONE
    private const byte AtaPassThrough = 0x85;
    private const byte ProtocolNoData = 3 << 1;
    private const byte ProtocolPioIn = 4 << 1;
    private const byte OneBlockFromDevice = 0x0e; // t_dir, byt_blok, t_length: in the sector count
    private const byte ReturnRegisters = 0x20; // ck_cond
    private const byte SmartCommand = 0xb0;
    private const byte SmartReadData = 0xd0;
    private const byte SmartReturnStatus = 0xda;
    private const int SenseSize = 32;
    private const byte CheckCondition = 2;
    private const byte Unreached = 0xff;

    // The LBA's middle and high byte: what makes B0h a SMART command, and what comes back; other values in there say that a threshold is exceeded.
    private const byte KeyMiddle = 0x4f;
    private const byte KeyHigh = 0xc2;
    private const byte ExceededMiddle = 0xf4;
    private const byte ExceededHigh = 0x2c;

    /// <summary>Reads the page.</summary>
    /// <param name="disk">A block device.</param>
    /// <param name="page"><see cref="PageSize"/> bytes, changed only if there is a page.</param>
    /// <returns>How the disk is, <see cref="SmartStatus.Undefined"/> if it gave no such page; null if this process may not read it.</returns>
    public static SmartStatus? Read(SafeFileHandle disk, Span<byte> page)
    {
        byte* data = stackalloc byte[PageSize];
        SmartStatus? status = ReadNvme(PosixFile.Descriptor(disk), data);
        if (status == SmartStatus.Undefined) status = ReadAta(PosixFile.Descriptor(disk), data);
        if (status is SmartStatus.Ok or SmartStatus.ThresholdExceeded) new ReadOnlySpan<byte>(data, PageSize).CopyTo(page);
        return status;
    }

    /// <summary>What an ATA disk's registers say after SMART RETURN STATUS.</summary>
    /// <param name="sense">The sense data that holds them, in either of its formats (SAT-3, "ATA Status Return").</param>
    public static SmartStatus Interpret(ReadOnlySpan<byte> sense)
    {
        (byte middle, byte high) = (sense[0] & 0x7f) switch
        {
            0x72 when sense[8] == 0x09 => (sense[17], sense[19]),
            0x70 => (sense[10], sense[11]),
            _ => ((byte)0, (byte)0),
        };
        return (middle, high) switch
        {
            (KeyMiddle, KeyHigh) => SmartStatus.Ok,
            (ExceededMiddle, ExceededHigh) => SmartStatus.ThresholdExceeded,
            _ => SmartStatus.Undefined,
        };
    }

    private static SmartStatus? ReadNvme(int descriptor, byte* data)
    {
        var command = new NvmeCommand
        {
            Opcode = GetLogPage,
            Namespace = WholeDrive,
            Data = data,
            DataLength = PageSize,
            Dword10 = HealthLog | ((PageSize / sizeof(uint)) - 1 << 16),
            TimeoutMilliseconds = NoTimeoutOfOurs,
        };

        int result = ioctl(descriptor, NvmeAdminCommand, &command);
        if (result < 0 && IsForbidden(errno)) return null;

        // A positive result is the drive's refusal.
        if (result != 0) return SmartStatus.Undefined;
        return data[CriticalWarning] == 0 ? SmartStatus.Ok : SmartStatus.ThresholdExceeded;
    }

    private static bool IsForbidden(int error) => error == EPERM || error == EACCES;

    private static SmartStatus? ReadAta(int descriptor, byte* data)
    {
        byte* sense = stackalloc byte[SenseSize];
        bool done = PassThrough(descriptor, ProtocolPioIn, OneBlockFromDevice, SmartReadData, data, sense, out byte status);
        if (!done && IsForbidden(errno)) return null;
        if (!done || status != 0) return SmartStatus.Undefined;
        return PassThrough(descriptor, ProtocolNoData, ReturnRegisters, SmartReturnStatus, null, sense, out status) && status == CheckCondition
            ? Interpret(new ReadOnlySpan<byte>(sense, SenseSize))
            : SmartStatus.Undefined;
    }

    private static bool PassThrough(int descriptor, byte protocol, byte flags, byte feature, byte* data, byte* sense, out byte status)
    {
        byte* block = stackalloc byte[16];
        new Span<byte>(block, 16).Clear();
        block[0] = AtaPassThrough;
        block[1] = protocol;
        block[2] = flags;
        block[4] = feature;
        block[6] = 1;
        block[10] = KeyMiddle;
        block[12] = KeyHigh;
        block[14] = SmartCommand;
        new Span<byte>(sense, SenseSize).Clear();
        var request = new ScsiRequest
        {
            Interface = 'S',
            Direction = data is null ? NoData : FromDevice,
            CommandLength = 16,
            SenseLength = SenseSize,
            DataLength = data is null ? 0u : PageSize,
            Data = data,
            Command = block,
            Sense = sense,
            TimeoutMilliseconds = NoTimeoutOfOurs,
        };
        if (ioctl(descriptor, SgIo, &request) != 0)
        {
            status = 0;
            return false;
        }

        // A command that did not reach the disk has no status of its own.
        status = request.HostStatus == 0 ? request.Status : Unreached;
        return true;
    }

    /// <summary>struct nvme_passthru_cmd, linux/nvme_ioctl.h.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 72)]
    private struct NvmeCommand
    {
        [FieldOffset(0)] public byte Opcode;
        [FieldOffset(4)] public uint Namespace;
        [FieldOffset(24)] public byte* Data;
        [FieldOffset(36)] public uint DataLength;
        [FieldOffset(40)] public uint Dword10;
        [FieldOffset(64)] public uint TimeoutMilliseconds;
    }

    /// <summary>struct sg_io_hdr, scsi/sg.h.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 88)]
    private struct ScsiRequest
    {
        [FieldOffset(0)] public int Interface;
        [FieldOffset(4)] public int Direction;
        [FieldOffset(8)] public byte CommandLength;
        [FieldOffset(9)] public byte SenseLength;
        [FieldOffset(12)] public uint DataLength;
        [FieldOffset(16)] public byte* Data;
        [FieldOffset(24)] public byte* Command;
        [FieldOffset(32)] public byte* Sense;
        [FieldOffset(40)] public uint TimeoutMilliseconds;
        [FieldOffset(64)] public byte Status;
        [FieldOffset(68)] public ushort HostStatus;
    }
}
