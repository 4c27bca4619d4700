using System.Globalization;
using System.Runtime.InteropServices;

namespace MuenBlock.Ublk.Control;

/// <summary>A device's number, as its node in /dev bears it.</summary>
/// <param name="IsBlock">Whether it is a block device rather than a character device.</param>
/// <param name="Major">The major number.</param>
/// <param name="Minor">The minor number.</param>
internal readonly record struct DeviceNumber(bool IsBlock, uint Major, uint Minor)
{
    /// <summary>Reads a number as /sys has it, such as 259:3.</summary>
    /// <param name="text">The text.</param>
    /// <param name="isBlock">Whether it is a block device.</param>
    /// <returns>The number, or null if the text is none.</returns>
    public static DeviceNumber? Parse(string? text, bool isBlock)
    {
        string[] parts = text?.Split(':') ?? [];
        return parts.Length == 2
            && uint.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out uint major)
            && uint.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out uint minor)
            ? new DeviceNumber(isBlock, major, minor)
            : null;
    }
}

/// <summary>Finds the processes that have a device open, whatever the node is called through which they opened it.</summary>
/// <param name="system">The machine's files.</param>
/// <param name="identify">The device that a path leads to, or null if it leads to none.</param>
internal sealed partial class OpenFiles(SystemFiles system, Func<string, DeviceNumber?> identify)
{
    private const int CurrentDirectory = -100; // AT_FDCWD, linux/fcntl.h
    private const int DontSync = 0x4000; // AT_STATX_DONT_SYNC: never wait for a network file system's server

    /// <summary>The processes that have one of some devices open.</summary>
    /// <param name="devices">The devices.</param>
    /// <returns>The process ids, in order.</returns>
    public IReadOnlyList<int> Of(IReadOnlySet<DeviceNumber> devices) => [.. Processes(system).Where(pid => Has(pid, devices))];

    /// <summary>Whether a process has one of some devices open.</summary>
    /// <param name="pid">The process.</param>
    /// <param name="devices">The devices.</param>
    public bool Has(int pid, IReadOnlySet<DeviceNumber> devices)
    {
        string folder = $"/proc/{pid}/fd";
        foreach (string descriptor in system.Names(folder))
        {
            // Sockets, pipes and the like are no files and have no slash in front.
            string link = $"{folder}/{descriptor}";
            if (system.Link(link) is ['/', ..] && identify(system.At(link)) is { } device && devices.Contains(device)) return true;
        }

        return false;
    }

    /// <summary>The processes of this machine, as far as they can be seen.</summary>
    /// <param name="system">The machine's files.</param>
    public static IEnumerable<int> Processes(SystemFiles system) =>
        system.Names("/proc")
            .Select(name => int.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out int pid) ? pid : 0)
            .Where(pid => pid > 0)
            .Order();

    /// <summary>The device that a path leads to; null if it leads to none, or nowhere.</summary>
    /// <param name="path">The path.</param>
    public static unsafe DeviceNumber? Identify(string path)
    {
        const uint TypeOnly = 1; // STATX_TYPE, linux/stat.h
        const int FileType = 0xf000; // S_IFMT
        const int Block = 0x6000; // S_IFBLK
        const int Character = 0x2000; // S_IFCHR
        FileStatus status;
        if (Statx(CurrentDirectory, path, DontSync, TypeOnly, &status) != 0) return null;
        int type = status.Mode & FileType;
        return type is Block or Character ? new DeviceNumber(type == Block, status.DeviceMajor, status.DeviceMinor) : null;
    }

    /// <summary>Which file or folder a path leads to, whatever it is called: its file system and its inode. Null if it leads nowhere.</summary>
    /// <param name="path">The path.</param>
    public static unsafe (uint Major, uint Minor, ulong Inode)? IdentifyFile(string path)
    {
        const uint InodeOnly = 0x100; // STATX_INO
        FileStatus status;
        return Statx(CurrentDirectory, path, DontSync, InodeOnly, &status) == 0 ? (status.SystemMajor, status.SystemMinor, status.Inode) : null;
    }

    [LibraryImport("libc", EntryPoint = "statx", StringMarshalling = StringMarshalling.Utf8)]
    private static unsafe partial int Statx(int directory, string path, int flags, uint mask, FileStatus* status);

    /// <summary>What is used of struct statx, 256 bytes (linux/stat.h).</summary>
    [StructLayout(LayoutKind.Explicit, Size = 256)]
    private struct FileStatus
    {
        /// <summary>Type and permissions.</summary>
        [FieldOffset(28)]
        public ushort Mode;

        /// <summary>The inode's number.</summary>
        [FieldOffset(32)]
        public ulong Inode;

        /// <summary>The major number of the device that the file is (stx_rdev_major).</summary>
        [FieldOffset(128)]
        public uint DeviceMajor;

        /// <summary>Its minor number.</summary>
        [FieldOffset(132)]
        public uint DeviceMinor;

        /// <summary>The major number of the file system that the file is in (stx_dev_major).</summary>
        [FieldOffset(136)]
        public uint SystemMajor;

        /// <summary>Its minor number.</summary>
        [FieldOffset(140)]
        public uint SystemMinor;
    }
}
