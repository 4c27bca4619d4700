using Microsoft.Extensions.Logging;
using MuenBlock.Protocol.Programs;

namespace MuenBlock.Protocol.Regions;

/// <summary>The files of a program's regions: none is used twice, whatever its names, and it is said which ones others may change.</summary>
/// <param name="log">Where to say it.</param>
public sealed partial class RegionFiles(ILogger log)
{
    private readonly Dictionary<(ulong Device, ulong Inode), string> _paths = [];
    private readonly HashSet<string> _directories = new(StringComparer.Ordinal);

    /// <summary>Takes note of a region that was opened.</summary>
    /// <param name="region">The region; disposed of if it is refused.</param>
    /// <returns>The region.</returns>
    /// <exception cref="ProgramException">Its file is another region already.</exception>
    public Region Add(Region region)
    {
        ArgumentNullException.ThrowIfNull(region);
        if (!_paths.TryAdd(region.Identity, region.Path))
        {
            string other = _paths[region.Identity];
            region.Dispose();
            throw new ProgramException(ExitCode.Resource, $"regions {other} and {region.Path} are the same file: give each a file of its own");
        }

        if (_paths.Count == 1 && !RegionGuard.IsInstalled) LogNotGuarded(log, NativeCode.Remedy);
        if (region.Mode.HasFlag(UnixFileMode.OtherWrite)) LogOpenToAll(log, region.Path, Octal(region.Mode), "chmod o-w");
        string directory = Path.GetDirectoryName(region.Path)!;
        if (!_directories.Add(directory)) return region;
        UnixFileMode mode = File.GetUnixFileMode(directory);
        if (mode.HasFlag(UnixFileMode.OtherWrite) && !mode.HasFlag(UnixFileMode.StickyBit)) LogOpenToAll(log, directory, Octal(mode), "chmod o-w");
        return region;
    }

    private static string Octal(UnixFileMode mode) => Convert.ToString((int)mode, 8);

    [LoggerMessage(62, LogLevel.Warning, "memory cannot be made executable, so there is no handler for regions that are cut off: whoever may write to a region's file can end this process, with all of its connections; {Remedy}")]
    private static partial void LogNotGuarded(ILogger log, string remedy);

    [LoggerMessage(61, LogLevel.Warning, "{Path} can be changed by every user of this machine (its mode is {Mode}), who can then harm both ends: {Remedy}")]
    private static partial void LogOpenToAll(ILogger log, string path, string mode, string remedy);
}
