using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using MuenBlock.Protocol.Regions;
using static Tmds.Linux.LibC;

namespace MuenBlock.Backend.Disks;

/// <summary>What the kernel knows of a block device or of the file system below an image.</summary>
internal static unsafe partial class BlockDeviceQueries
{
    // linux/fs.h
    private const int BlkSszGet = 0x1268;
    private const int BlkRoGet = 0x125e;

    // linux/stat.h: what O_DIRECT wants of a file, since 6.1.
    private const uint StatxDioAlign = 0x2000;
    private const int AtEmptyPath = 0x1000; // linux/fcntl.h
    private const int StatxDioOffsetAlign = 0x9c; // offset of stx_dio_offset_align in struct statx
    private const uint StatxBirth = 0x800; // STATX_BTIME
    private const int StatxBirthAt = 0x50; // offset of stx_btime: seconds, 8 bytes, and nanoseconds, 4
    private const int StatxMaskOffset = 0;
    private const int StatxSize = 256;

    /// <summary>The present size of a block device or an image, in bytes; 0 of a block device that has vanished, -1 if it cannot be had.</summary>
    /// <param name="disk">The disk; nobody uses the position in the opening, which moves.</param>
    public static long Size(SafeFileHandle disk)
    {
        // Unlike an ioctl this is allowed to a program that has given up what it does not need (Sandboxing).
        return (long)lseek(PosixFile.Descriptor(disk), 0, SEEK_END);
    }

    /// <summary>The logical block size of a block device, in bytes.</summary>
    public static int LogicalBlockSize(SafeFileHandle device)
    {
        int size;
        return ioctl(PosixFile.Descriptor(device), BlkSszGet, &size) == 0 && size > 0 ? size : 512;
    }

    /// <summary>Whether the kernel lets nobody write to a block device.</summary>
    public static bool IsReadOnly(SafeFileHandle device)
    {
        int readOnly;
        return ioctl(PosixFile.Descriptor(device), BlkRoGet, &readOnly) == 0 && readOnly != 0;
    }

    /// <summary>What O_DIRECT demands of offsets in a file, in bytes; 0 if the kernel does not say.</summary>
    public static int DirectAlignment(SafeFileHandle file)
    {
        byte* status = stackalloc byte[StatxSize];
        return TryStatus(file, StatxDioAlign, status) ? *(int*)(status + StatxDioOffsetAlign) : 0;
    }

    /// <summary>When a file came to be; null if its file system does not keep that.</summary>
    public static (long Seconds, uint Nanoseconds)? Birth(SafeFileHandle file)
    {
        byte* status = stackalloc byte[StatxSize];
        return TryStatus(file, StatxBirth, status) ? (*(long*)(status + StatxBirthAt), *(uint*)(status + StatxBirthAt + sizeof(long))) : null;
    }

    private static bool TryStatus(SafeFileHandle file, uint what, byte* status)
    {
        new Span<byte>(status, StatxSize).Clear();
        byte empty = 0;
        return Statx(PosixFile.Descriptor(file), &empty, AtEmptyPath, what, status) == 0 && (*(uint*)(status + StatxMaskOffset) & what) != 0;
    }

    /// <summary>A number from the request queue's folder in /sys; for a partition its disk's. 0 if there is none.</summary>
    /// <param name="deviceNumber">The device's number as stat(2) gives it.</param>
    /// <param name="name">The file in the folder "queue".</param>
    public static long QueueValue(ulong deviceNumber, string name) =>
        long.TryParse(Value(QueueFile(deviceNumber, name)), NumberStyles.Integer, CultureInfo.InvariantCulture, out long value) ? value : 0;

    /// <summary>A file in the request queue's folder in /sys; for a partition its disk's.</summary>
    /// <param name="deviceNumber">The device's number as stat(2) gives it.</param>
    /// <param name="name">The file in the folder "queue".</param>
    public static string QueueFile(ulong deviceNumber, string name)
    {
        string folder = Folder(deviceNumber);
        if (!Directory.Exists($"{folder}/queue")) folder = Path.GetDirectoryName(folder)!;
        return $"{folder}/queue/{name}";
    }

    /// <summary>The folder in /sys that describes a block device: a partition's is in its disk's.</summary>
    /// <param name="deviceNumber">The device's number as stat(2) gives it.</param>
    /// <param name="devices">Where the system describes block devices by number.</param>
    public static string Folder(ulong deviceNumber, string devices = "/sys/dev/block")
    {
        string link = $"{devices}/{Name(deviceNumber)}";
        return Directory.Exists(link) ? Directory.ResolveLinkTarget(link, returnFinalTarget: true)?.FullName ?? link : link;
    }

    /// <summary>A device's number as the kernel writes it.</summary>
    /// <param name="deviceNumber">The number as stat(2) gives it.</param>
    public static string Name(ulong deviceNumber)
    {
        // gnu_dev_major and gnu_dev_minor, sys/sysmacros.h
        ulong major = ((deviceNumber >> 8) & 0xfff) | ((deviceNumber >> 32) & ~0xffful);
        ulong minor = (deviceNumber & 0xff) | ((deviceNumber >> 12) & ~0xfful);
        return $"{major}:{minor}";
    }

    /// <summary>What a file of /sys says; null if it is not there.</summary>
    /// <param name="path">The file.</param>
    public static string? Value(string path)
    {
        try
        {
            return File.ReadAllText(path).TrimEnd('\n');
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true)]
    private static partial int Statx(int directory, byte* path, int flags, uint mask, byte* status);
}
