using System.Globalization;
using Microsoft.Win32.SafeHandles;
using MuenBlock.Protocol.Regions;
using static Tmds.Linux.LibC;

namespace MuenBlock.Ublk.Control;

/// <summary>Finds out who uses a block device or one of its partitions, so that a refusal can say it.</summary>
/// <param name="system">The machine's files.</param>
/// <param name="files">The files that processes have open.</param>
internal sealed class DeviceHolders(SystemFiles system, OpenFiles files)
{
    /// <summary>What the phrases begin with that tell of a process which merely has the device open.</summary>
    public const string OpenIn = "open in ";

    /// <summary>The phrase for a device of which nobody can be seen to use it, though the kernel does.</summary>
    public const string Claimed = "claimed by the kernel (such as for a file system or pool of several disks, a journal, or what was unmounted lazily)";

    /// <summary>Those of this machine.</summary>
    public static DeviceHolders Machine { get; } = new(SystemFiles.Machine, new OpenFiles(SystemFiles.Machine, OpenFiles.Identify));

    /// <summary>Who uses a block device now.</summary>
    /// <param name="id">The N of /dev/ublkbN.</param>
    /// <returns>A phrase for each, such as "mounted on /mnt", to follow the device's path and "is"; empty if nobody can be seen to.</returns>
    public static IReadOnlyList<string> Find(int id) => Machine.Of(id);

    /// <summary>The same, also where only the kernel knows that somebody uses it.</summary>
    /// <param name="id">The N of /dev/ublkbN.</param>
    /// <returns>As <see cref="Find"/>.</returns>
    public static IReadOnlyList<string> FindWithClaims(int id) => Machine.Of(id, IsClaimed);

    /// <summary>Whether the kernel says that a block device is in use as such: mounted, stacked upon, or swapped to.</summary>
    /// <param name="id">The N of /dev/ublkbN.</param>
    public static bool IsClaimed(int id)
    {
        // An exclusive opening excludes the users of partitions, too.
        using SafeFileHandle? file = PosixFile.TryOpen($"/dev/ublkb{id}", O_RDONLY | O_EXCL, out int error);
        return error == EBUSY;
    }

    /// <summary>I/Os that a block device has been given and that have not ended.</summary>
    /// <param name="id">The N of /dev/ublkbN.</param>
    public static long InFlight(int id) => Machine.CountInFlight(id);

    /// <summary>I/Os that a block device has been given and that have not ended (Documentation/ABI/stable/sysfs-block, inflight: reads and writes).</summary>
    /// <param name="id">The N of /dev/ublkbN.</param>
    public long CountInFlight(int id) =>
        (system.Text($"/sys/block/ublkb{id}/inflight") ?? string.Empty).Split(' ', StringSplitOptions.RemoveEmptyEntries)
            .Sum(ParseCount);

    /// <summary>I/Os of a block device that have ended.</summary>
    /// <param name="id">The N of /dev/ublkbN.</param>
    public static long Completed(int id) => Machine.CountCompleted(id);

    /// <summary>I/Os of a block device that have ended: reads, writes, discards and flushes (Documentation/ABI/stable/sysfs-block, stat: their fields).</summary>
    /// <param name="id">The N of /dev/ublkbN.</param>
    public long CountCompleted(int id)
    {
        const int reads = 0;
        const int writes = 4;
        const int discards = 11;
        const int flushes = 15;
        string[] fields = (system.Text($"/sys/block/ublkb{id}/stat") ?? string.Empty).Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return new[] { reads, writes, discards, flushes }.Where(field => field < fields.Length).Sum(field => ParseCount(fields[field]));
    }

    /// <summary>Who has a device's character device open: its server.</summary>
    /// <param name="id">The N of /dev/ublkcN.</param>
    /// <returns>The process ids.</returns>
    public IReadOnlyList<int> ServersOf(int id) =>
        DeviceNumber.Parse(system.Text($"/sys/class/ublk-char/ublkc{id}/dev"), isBlock: false) is { } number
            ? files.Of(new HashSet<DeviceNumber> { number })
            : [];

    /// <summary>Who uses a block device.</summary>
    /// <param name="id">The N of /dev/ublkbN.</param>
    /// <returns>As <see cref="Find"/>.</returns>
    public IReadOnlyList<string> Of(int id)
    {
        string disk = $"ublkb{id}";
        string[] names = [disk, .. system.Names($"/sys/block/{disk}").Where(name => name.StartsWith(disk + "p", StringComparison.Ordinal))];
        var devices = new Dictionary<DeviceNumber, string>();
        foreach (string name in names)
        {
            string folder = name == disk ? $"/sys/block/{disk}" : $"/sys/block/{disk}/{name}";
            if (DeviceNumber.Parse(system.Text($"{folder}/dev"), isBlock: true) is { } number) devices[number] = name;
        }

        var found = new List<string>();
        found.AddRange(Mounts(disk, devices));
        found.AddRange(Swaps(disk, names));
        foreach (string name in names)
        {
            string folder = name == disk ? $"/sys/block/{disk}/holders" : $"/sys/block/{disk}/{name}/holders";
            found.AddRange(system.Names(folder).Select(holder => $"used by {Describe(holder)}{Part(disk, name)}"));
        }

        found.AddRange(LoopDevices(disk, names));
        found.AddRange(files.Of(devices.Keys.ToHashSet()).Select(pid => $"{OpenIn}{Command(pid)} (pid {pid})"));
        return [.. found.Distinct(StringComparer.Ordinal)];
    }

    /// <summary>Who uses a block device, also where only the kernel knows that somebody does.</summary>
    /// <param name="id">The N of /dev/ublkbN.</param>
    /// <param name="isClaimed">Asks the kernel (<see cref="IsClaimed"/>), by opening the device.</param>
    /// <returns>As <see cref="Find"/>.</returns>
    public IReadOnlyList<string> Of(int id, Func<int, bool> isClaimed)
    {
        // To close a device that nobody else has open any more waits for what is still written to it: a server that asks would wait for itself.
        IReadOnlyList<string> found = Of(id);
        return found.Count == 0 && CountInFlight(id) == 0 && isClaimed(id) ? [Claimed] : found;
    }

    private static long ParseCount(string text) => long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long count) ? count : 0;

    private static string Part(string disk, string name) => name == disk ? string.Empty : $" (/dev/{name})";

    private List<string> Mounts(string disk, Dictionary<DeviceNumber, string> devices)
    {
        // Those that are mounted in the namespace from here come first and under the name they have here.
        var seen = new HashSet<string>(StringComparer.Ordinal);
        var found = new List<string>();
        Look("self", string.Empty);
        foreach (int pid in OpenFiles.Processes(system)) Look(pid.ToString(CultureInfo.InvariantCulture), $", as {Command(pid)} (pid {pid}) sees it");
        return found;

        void Look(string process, string seenBy)
        {
            if (!seen.Add(system.Link($"/proc/{process}/ns/mnt") ?? process)) return;
            foreach (string line in system.Lines($"/proc/{process}/mountinfo"))
            {
                // Fields (proc_pid_mountinfo(5)): id, parent, major:minor, root, mount point, options …, "-", type, source.
                string[] fields = line.Split(' ');
                int separator = Array.IndexOf(fields, "-");
                if (fields.Length < 5 || separator < 0 || separator + 2 >= fields.Length) continue;

                // Some file systems (btrfs) have a number of their own: their source tells the device.
                string? name = DeviceNumber.Parse(fields[2], isBlock: true) is { } number && devices.TryGetValue(number, out string? device)
                    ? device
                    : devices.Values.FirstOrDefault(known => fields[separator + 2] == $"/dev/{known}");
                if (name is null) continue;
                string mount = $"mounted on {Unescape(fields[4])}{Part(disk, name)}";
                if (!found.Contains(mount, StringComparer.Ordinal)) found.Add(mount + seenBy);
            }
        }
    }

    private IEnumerable<string> Swaps(string disk, string[] names) =>
        system.Lines("/proc/swaps")
            .Select(line => Unescape(line.Split(' ', '\t')[0]))
            .SelectMany(path => names.Where(name => path == $"/dev/{name}"))
            .Select(name => $"in use as swap{Part(disk, name)}");

    private IEnumerable<string> LoopDevices(string disk, string[] names)
    {
        foreach (string loop in system.Names("/sys/block").Where(name => name.StartsWith("loop", StringComparison.Ordinal)))
        {
            string? file = system.Text($"/sys/block/{loop}/loop/backing_file");
            string? name = Array.Find(names, name => file == $"/dev/{name}");
            if (name is not null) yield return $"used by {loop}{Part(disk, name)}";
        }
    }

    private string Describe(string holder) => system.Text($"/sys/block/{holder}/dm/name") is { } mapped ? $"{holder} ({mapped})" : holder;

    private string Command(int pid) => system.Text($"/proc/{pid}/comm") ?? "a process";

    // The kernel writes a space, a tab, a newline and a backslash as a backslash and three octal digits (proc_pid_mountinfo(5)).
    private static string Unescape(string text)
    {
        string[] parts = text.Split('\\');
        for (int i = 1; i < parts.Length; i++)
        {
            bool escaped = parts[i] is [>= '0' and <= '3', >= '0' and <= '7', >= '0' and <= '7', ..];
            parts[i] = escaped ? (char)Convert.ToInt32(parts[i][..3], 8) + parts[i][3..] : '\\' + parts[i];
        }

        return string.Concat(parts);
    }
}
