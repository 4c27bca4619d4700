using System.Globalization;
using Microsoft.Win32.SafeHandles;
using MuenBlock.Protocol.Regions;
using Tmds.Linux;
using static Tmds.Linux.LibC;

namespace MuenBlock.Backend.Disks;

/// <summary>
/// Which bytes of which storage a path stands for, whatever its name: a link, a second name, a partition or a loop device leads to the
/// file or disk below it, as far as the system tells.
/// </summary>
/// <param name="Storage">The file, by its inode, or the whole disk, by its number.</param>
/// <param name="Start">The first byte.</param>
/// <param name="End">The byte behind the last one.</param>
internal readonly record struct DiskExtent(string Storage, ulong Start, ulong End)
{
    private const int SectorSize = 512; // of sysfs, whatever the disk's
    private const int MostLayers = 16; // loop devices on loop devices; a bound, not a goal
    private const string Devices = "/sys/dev/block";

    /// <summary>Finds what a path stands for.</summary>
    /// <param name="path">A disk, a partition or an image; it need not exist.</param>
    /// <param name="devices">Where the system describes block devices by number.</param>
    public static DiskExtent Of(string path, string devices = Devices) => Find(path, devices, MostLayers) ?? new(Path.GetFullPath(path), 0, ulong.MaxValue);

    /// <summary>Whether the two have a byte in common.</summary>
    /// <param name="other">The other one.</param>
    public bool Overlaps(DiskExtent other) =>
        string.Equals(Storage, other.Storage, StringComparison.Ordinal) && Start < other.End && other.Start < End;

    /// <summary>
    /// Whether a block device is a loop device, a partition of one, or made of one (device-mapper, md): whatever it was opened with, its data
    /// may be in the page cache of what lies below, and its flush is an fsync there (lo_req_flush, drivers/block/loop.c).
    /// </summary>
    /// <param name="number">Its number as stat(2) gives it.</param>
    /// <param name="devices">Where the system describes block devices by number.</param>
    public static bool IsOnLoop(ulong number, string devices = Devices) => LiesOnLoop(BlockDeviceQueries.Folder(number, devices), MostLayers);

    private static bool LiesOnLoop(string folder, int layers)
    {
        if (File.Exists($"{folder}/partition")) folder = Path.GetDirectoryName(folder)!;
        if (File.Exists($"{folder}/loop/backing_file")) return true;
        string slaves = $"{folder}/slaves";
        return layers > 0 && Directory.Exists(slaves)
            && Array.Exists(Directory.GetDirectories(slaves), below => LiesOnLoop(Directory.ResolveLinkTarget(below, returnFinalTarget: true)?.FullName ?? below, layers - 1));
    }

    private static unsafe DiskExtent? Find(string path, string devices, int layers)
    {
        using SafeFileHandle? file = PosixFile.TryOpen(path, O_PATH, out _);
        stat status;
        if (file is null || fstat(PosixFile.Descriptor(file), &status) != 0) return null;
        if ((status.st_mode & S_IFMT) == S_IFBLK) return OfDevice((ulong)status.st_rdev, devices, layers);
        return new($"file {(ulong)status.st_dev}:{(ulong)status.st_ino}", 0, ulong.MaxValue);
    }

    /// <summary>Finds what a block device stands for.</summary>
    /// <param name="number">Its number as stat(2) gives it.</param>
    /// <param name="devices">Where the system describes block devices by number.</param>
    /// <param name="layers">How many devices may lie below it.</param>
    internal static DiskExtent OfDevice(ulong number, string devices, int layers = MostLayers)
    {
        string folder = BlockDeviceQueries.Folder(number, devices);
        (ulong start, ulong end) = (0, ulong.MaxValue);
        if (File.Exists($"{folder}/partition"))
        {
            start = Number($"{folder}/start") * SectorSize;
            end = start + (Number($"{folder}/size") * SectorSize);
            folder = Path.GetDirectoryName(folder)!;
        }

        string name = BlockDeviceQueries.Value($"{folder}/dev") ?? BlockDeviceQueries.Name(number);
        if (layers == 0 || BlockDeviceQueries.Value($"{folder}/loop/backing_file") is not { } backing || Find(backing, devices, layers - 1) is not { } below)
            return new($"disk {name}", start, end);
        ulong offset = below.Start + Number($"{folder}/loop/offset");
        return new(below.Storage, offset + start, end == ulong.MaxValue ? below.End : offset + end);
    }

    private static ulong Number(string path) =>
        ulong.TryParse(BlockDeviceQueries.Value(path), NumberStyles.None, CultureInfo.InvariantCulture, out ulong number) ? number : 0;
}
