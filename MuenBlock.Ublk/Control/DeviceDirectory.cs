using System.Globalization;

namespace MuenBlock.Ublk.Control;

/// <summary>The ublk devices of this machine, whoever's they are.</summary>
internal static class DeviceDirectory
{
    private const string Prefix = "ublkc";

    /// <summary>Their ids, in order.</summary>
    /// <param name="classes">Where the driver lists its character devices.</param>
    public static IReadOnlyList<int> Ids(string classes = "/sys/class/ublk-char")
    {
        if (!Directory.Exists(classes)) return [];
        return
        [
            .. Directory.EnumerateFileSystemEntries(classes)
                .Select(path => Path.GetFileName(path))
                .Where(name => name.StartsWith(Prefix, StringComparison.Ordinal))
                .Select(name => int.TryParse(name.AsSpan(Prefix.Length), NumberStyles.None, CultureInfo.InvariantCulture, out int id) ? id : -1)
                .Where(id => id >= 0)
                .Order(),
        ];
    }
}
