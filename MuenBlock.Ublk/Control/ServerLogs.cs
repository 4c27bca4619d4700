namespace MuenBlock.Ublk.Control;

/// <summary>The logs of serving processes that nobody named. Each of several connections gets a successor of its own, and all of them add to their predecessor's.</summary>
internal static class ServerLogs
{
    /// <summary>
    /// Removes a log that has become useless, unless a user named the file, or a device's record says that another server still writes to it, or is to. Who
    /// ends removes the records of its own devices first: of several that end at the same time the last one finds none.
    /// </summary>
    /// <param name="path">The log.</param>
    /// <param name="directory">Where records are.</param>
    public static void DeleteUnused(string path, string directory = DeviceRecord.Directory)
    {
        if (!DeviceRecord.IsServerLog(path, directory)) return;
        try
        {
            if (DeviceRecord.All(directory).Any(record => record.LogFile == path)) return;
            File.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It does no harm where it is.
        }
    }
}
