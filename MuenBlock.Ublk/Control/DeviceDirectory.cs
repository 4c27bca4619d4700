using System.Globalization;

namespace MuenBlock.Ublk.Control;

/// <summary>The ublk devices of this machine, whoever's they are.</summary>
internal static class DeviceDirectory
{
    private const string Folder = "/sys/class/ublk-char";
    private const string Prefix = "ublkc";

    /// <summary>Their ids, in order. The driver lists a device from ADD_DEV to DEL_DEV.</summary>
    public static IReadOnlyList<int> Ids() => Ids(SystemFiles.Machine);

    /// <summary>Their ids, in order.</summary>
    /// <param name="system">The machine's files.</param>
    public static IReadOnlyList<int> Ids(SystemFiles system) =>
    [
        .. system.Names(Folder)
            .Where(name => name.StartsWith(Prefix, StringComparison.Ordinal))
            .Select(name => int.TryParse(name.AsSpan(Prefix.Length), NumberStyles.None, CultureInfo.InvariantCulture, out int id) ? id : -1)
            .Where(id => id >= 0)
            .Order(),
    ];

    /// <summary>Whether the driver lists a device, or still has its block device.</summary>
    /// <param name="system">The machine's files.</param>
    /// <param name="id">The device.</param>
    public static bool Has(SystemFiles system, int id) => system.Exists($"{Folder}/{Prefix}{id}") || system.Exists($"/sys/block/ublkb{id}");
}
