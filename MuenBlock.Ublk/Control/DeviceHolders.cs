using System.Globalization;
using MuenBlock.Protocol.Regions;
using static Tmds.Linux.LibC;

namespace MuenBlock.Ublk.Control;

/// <summary>Finds out who uses a block device or one of its partitions, so that a refusal can say it.</summary>
/// <param name="root">Where /proc and /sys are; empty for the machine's own.</param>
internal sealed class DeviceHolders(string root)
{
    /// <summary>Who uses a block device now.</summary>
    /// <param name="id">The N of /dev/ublkbN.</param>
    /// <returns>A phrase for each, such as "mounted on /mnt"; empty if nobody does.</returns>
    public static IReadOnlyList<string> Find(int id) => new DeviceHolders(string.Empty).Of($"ublkb{id}");

    /// <summary>Who uses a block device.</summary>
    /// <param name="name">The device, without /dev/.</param>
    public IReadOnlyList<string> Of(string name)
    {
        string[] names = [name, .. Partitions(name)];
        var found = new List<string>();
        foreach (string device in names)
        {
            string prefix = string.Equals(device, name, StringComparison.Ordinal) ? string.Empty : $"{device} ";
            string? number = Read($"{root}/sys/class/block/{device}/dev")?.Trim();
            found.AddRange(Mounts(number).Select(mount => $"{prefix}mounted on {mount}"));
            found.AddRange(Stacked(device).Select(holder => $"{prefix}part of {holder}"));
            if (Swaps().Contains($"/dev/{device}", StringComparer.Ordinal)) found.Add($"{prefix}used as swap");
        }

        found.AddRange(Openers([.. names.Select(device => $"/dev/{device}")]));
        return [.. found.Distinct(StringComparer.Ordinal)];
    }

    /// <summary>Whether the kernel says that a block device is in use by itself: mounted, stacked upon, or swapped to.</summary>
    /// <param name="id">The N of /dev/ublkbN.</param>
    public static bool IsClaimed(int id)
    {
        using Microsoft.Win32.SafeHandles.SafeFileHandle? file = PosixFile.TryOpen($"/dev/ublkb{id}", O_RDONLY | O_EXCL, out int error);
        return error == EBUSY;
    }

    private IEnumerable<string> Partitions(string name)
    {
        string folder = $"{root}/sys/class/block/{name}";
        if (!Directory.Exists(folder)) return [];
        return Directory.EnumerateDirectories(folder, $"{name}p*").Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal);
    }

    private IEnumerable<string> Mounts(string? number)
    {
        if (number is null) return [];
        var places = new HashSet<string>(StringComparer.Ordinal);
        foreach (string process in Processes())
        {
            // Fields of mountinfo (proc(5)): id, parent, major:minor, root, mount point.
            foreach (string line in Lines($"{process}/mountinfo"))
            {
                string[] fields = line.Split(' ', 6);
                if (fields.Length > 5 && string.Equals(fields[2], number, StringComparison.Ordinal)) places.Add(fields[4]);
            }
        }

        return places.Order(StringComparer.Ordinal);
    }

    private IEnumerable<string> Stacked(string device)
    {
        string folder = $"{root}/sys/class/block/{device}/holders";
        if (!Directory.Exists(folder)) return [];
        return Directory.EnumerateFileSystemEntries(folder).Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal).Select(holder =>
        {
            string? mapped = Read($"{root}/sys/class/block/{holder}/dm/name")?.Trim();
            return mapped is null ? holder : $"{holder} ({mapped})";
        });
    }

    private IEnumerable<string> Swaps() => Lines($"{root}/proc/swaps").Select(line => line.Split(' ', 2)[0]);

    private IEnumerable<string> Openers(string[] paths)
    {
        foreach (string process in Processes())
        {
            string pid = Path.GetFileName(process);
            if (!int.TryParse(pid, NumberStyles.None, CultureInfo.InvariantCulture, out int number) || number == Environment.ProcessId) continue;
            if (Links($"{process}/fd").Any(link => paths.Contains(link, StringComparer.Ordinal)))
                yield return $"open in {Read($"{process}/comm")?.Trim() ?? "a process"} (pid {pid})";
        }
    }

    private IEnumerable<string> Processes()
    {
        if (!Directory.Exists($"{root}/proc")) return [];
        return Directory.EnumerateDirectories($"{root}/proc").Where(path => char.IsAsciiDigit(Path.GetFileName(path)[0]));
    }

    private static string[] Links(string folder)
    {
        try
        {
            return [.. Directory.EnumerateFileSystemEntries(folder).Select(path => new FileInfo(path).LinkTarget ?? string.Empty)];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return []; // the process has ended, or is not ours to look into
        }
    }

    private static string[] Lines(string file)
    {
        try
        {
            return File.ReadAllLines(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    private static string? Read(string file)
    {
        try
        {
            return File.ReadAllText(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
