using Microsoft.Extensions.Logging;

namespace MuenBlock.Backend.Disks;

/// <summary>
/// Switches off the I/O scheduler of a disk that is exported: the client's kernel has put requests in order already, and a second time costs
/// only latency. A scheduler is a setting of the machine, like one from a udev rule: it stays when the backend ends, so that a backend
/// that is restarted does not flip it, and one that is killed leaves the same as one that ends.
/// </summary>
internal static partial class IoScheduler
{
    private const string None = "none";

    /// <summary>Sets the scheduler of a block device, or of a partition's disk, to none. What cannot be set is a warning.</summary>
    /// <param name="disk">The disk; nothing is done for an image file.</param>
    /// <param name="log">Where to say what was changed or could not be.</param>
    public static void SwitchOff(Disk disk, ILogger log)
    {
        if (disk.DeviceNumber is not { } number) return;
        string file = BlockDeviceQueries.QueueFile(number, "scheduler");
        try
        {
            // All that there are, the one in use in brackets: "mq-deadline [none]". A device without a queue of its own has just "none".
            string before = File.ReadAllText(file).Trim();
            int bracket = before.IndexOf('[', StringComparison.Ordinal);
            if (bracket < 0 || before.Contains($"[{None}]", StringComparison.Ordinal)) return;
            File.WriteAllText(file, None);
            LogSwitchedOff(log, disk.Path, before[(bracket + 1)..before.IndexOf(']', StringComparison.Ordinal)]);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            // A driver without a queue of requests, such as the RAM disk's, has nothing to be scheduled.
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            LogNotSwitchedOff(log, disk.Path, file, e.Message);
        }
    }

    [LoggerMessage(4, LogLevel.Information, "{Path}: I/O scheduler {Before} switched off; --scheduler keep leaves it")]
    private static partial void LogSwitchedOff(ILogger log, string path, string before);

    [LoggerMessage(5, LogLevel.Warning, "{Path}: its I/O scheduler stays as it is, {File} cannot be written ({Reason}); --scheduler keep does not try")]
    private static partial void LogNotSwitchedOff(ILogger log, string path, string file, string reason);
}
