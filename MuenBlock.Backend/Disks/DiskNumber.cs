using System.Globalization;
using System.Text;
using Microsoft.Win32.SafeHandles;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Regions;
using Tmds.Linux;
using static Tmds.Linux.LibC;

namespace MuenBlock.Backend.Disks;

/// <summary>
/// The number that a disk is known by to clients, so that none of them goes on writing to another one after this program was started with a wrong
/// path, or after the names of disks have changed. Nothing can be read from it.
/// <list type="bullet">
/// <item>A disk: what its maker or its administrator calls it (WWID, serial number, the UUID of a mapped device). A name such as /dev/sda says nothing.</item>
/// <item>A partition: its disk and where it begins; if its disk has no such name, its own UUID (PARTUUID).</item>
/// <item>An image: the inode and the time of its birth. It keeps them when it is renamed, moved within its file system, grown or written over,
/// and a copy has others: whether that is as good only its owner knows.</item>
/// <item>Anything else, such as a RAM disk: what the kernel calls it until it is started again. That tells disks apart, but not across a start.</item>
/// </list>
/// </summary>
internal static class DiskNumber
{
    private const int MostLayers = 16; // loop devices on loop devices; a bound, not a goal

    // Under the disk's folder in /sys: NVMe; SCSI and ATA; virtio; MMC; mapped devices; md.
    private static readonly string[] s_names = ["wwid", "device/wwid", "serial", "device/cid", "dm/uuid", "md/uuid"];

    /// <summary>Finds the number of a disk.</summary>
    /// <param name="path">A disk, a partition or an image, which exists.</param>
    /// <returns>The number; not 0.</returns>
    public static ulong Of(string path)
    {
        if (NameOf(path, MostLayers) is { } name) return DiskIdentity.ForGood(Hash(name));

        // Without its end: it may grow.
        DiskExtent extent = DiskExtent.Of(path);
        return DiskIdentity.UntilReboot(Hash($"{BlockDeviceQueries.Value("/proc/sys/kernel/random/boot_id")}\0{extent.Storage}\0{extent.Start}"));
    }

    /// <summary>What names a block device for good; null if nothing does.</summary>
    /// <param name="number">Its number as stat(2) gives it.</param>
    /// <param name="devices">Where the system describes block devices by number.</param>
    /// <param name="layers">How many devices may lie below it.</param>
    internal static string? NameOfDevice(ulong number, string devices, int layers = MostLayers)
    {
        string folder = BlockDeviceQueries.Folder(number, devices);
        if (!File.Exists($"{folder}/partition")) return NameOfDisk(folder, layers);
        string? disk = NameOfDisk(Path.GetDirectoryName(folder)!, layers);
        return disk is not null ? $"{disk}\0from {Text($"{folder}/start")}" : PartitionUuid(folder);
    }

    private static unsafe string? NameOf(string path, int layers)
    {
        using SafeFileHandle? file = PosixFile.TryOpen(path, O_PATH, out _);
        stat status;
        if (file is null || fstat(PosixFile.Descriptor(file), &status) != 0) return null;
        if ((status.st_mode & S_IFMT) == S_IFBLK) return NameOfDevice((ulong)status.st_rdev, "/sys/dev/block", layers);
        return BlockDeviceQueries.Birth(file) is { } birth
            ? string.Create(CultureInfo.InvariantCulture, $"inode {(ulong)status.st_ino}\0born {birth.Seconds}.{birth.Nanoseconds}")
            : null;
    }

    private static string? NameOfDisk(string folder, int layers)
    {
        if (layers > 0 && Text($"{folder}/loop/backing_file") is { } backing)
            return NameOf(backing, layers - 1) is { } below ? $"{below}\0from {Text($"{folder}/loop/offset")}" : null;
        foreach (string name in s_names)
        {
            if (Text($"{folder}/{name}") is { } text) return $"{name} {text}";
        }

        return null;
    }

    private static string? PartitionUuid(string folder)
    {
        const string key = "PARTUUID=";
        return Array.Find(Text($"{folder}/uevent")?.Split('\n') ?? [], line => line.StartsWith(key, StringComparison.Ordinal));
    }

    private static string? Text(string path) => BlockDeviceQueries.Value(path)?.Trim() is { Length: > 0 } text ? text : null;

    private static ulong Hash(string name)
    {
        // FNV-1a (draft-eastlake-fnv): clients keep the number longer than a program runs, so it must not depend on the runtime.
        const ulong basis = 14695981039346656037;
        const ulong prime = 1099511628211;
        ulong hash = basis;
        foreach (byte value in Encoding.UTF8.GetBytes(name)) hash = (hash ^ value) * prime;
        return hash;
    }
}
