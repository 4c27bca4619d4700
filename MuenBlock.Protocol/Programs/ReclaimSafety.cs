using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using MuenBlock.Protocol.Regions;

namespace MuenBlock.Protocol.Programs;

/// <summary>
/// Makes a process fit to serve a disk that the machine writes to when it is short of memory: swap, or dirty pages. Such a process must
/// not wait for memory, as that may wait for the very disk. To be called before the threads that serve are started, which inherit the
/// mark of an I/O flusher, and before privileges are given up.
/// </summary>
public static unsafe partial class ReclaimSafety
{
    private const int LockCurrent = 1; // MCL_CURRENT, asm-generic/mman.h
    private const int LockFuture = 2; // MCL_FUTURE
    private const int LockOnFault = 4; // MCL_ONFAULT: else the runtime's reserved addresses would be filled with memory
    private const int SetIoFlusher = 57; // PR_SET_IO_FLUSHER, linux/prctl.h, since 5.6

    /// <summary>Does all that is permitted, and logs in one line what is not.</summary>
    /// <param name="log">Where to.</param>
    /// <param name="oomScore">How likely the process is to be killed when no memory is left: -1000 (never) to 1000 (proc(5), oom_score_adj).</param>
    public static void Prepare(ILogger log, int oomScore)
    {
        var missing = new List<string>();
        if (ProcessControl(SetIoFlusher, 1, 0, 0, 0) != 0) missing.Add($"it is not marked as an I/O flusher ({Error()}: CAP_SYS_RESOURCE)");
        LockMemory(missing);
        try
        {
            File.WriteAllText("/proc/self/oom_score_adj", oomScore.ToString(CultureInfo.InvariantCulture));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            missing.Add("it may be killed when no memory is left (CAP_SYS_RESOURCE)");
        }

        if (missing.Count > 0) LogMissing(log, string.Join("; ", missing));
    }

    private static void LockMemory(List<string> missing)
    {
        // With a limit, and without the capability that passes it, every later mapping would fail as soon as all memory is to be locked.
        var endless = new ResourceLimit { Soft = ulong.MaxValue, Hard = ulong.MaxValue };
        if (ResourceLimit.Set(ResourceLimit.LockedMemory, &endless) != 0)
        {
            missing.Add($"its memory is not locked ({Error()}: CAP_SYS_RESOURCE, or no limit on locked memory)");
            return;
        }

        if (LockAll(LockCurrent | LockFuture | LockOnFault) != 0)
        {
            missing.Add($"its memory is not locked ({Error()}: CAP_IPC_LOCK)");
            return;
        }

        try
        {
            FillCode();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            missing.Add($"what of its code was not used yet is not in memory ({e.Message})");
        }
    }

    /// <summary>What of the program was not used yet would be read from a disk later. A kernel without this does without.</summary>
    private static void FillCode()
    {
        foreach (string line in File.ReadLines("/proc/self/maps"))
        {
            string[] fields = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (fields.Length < 6 || !fields[5].StartsWith('/')) continue;
            ulong[] range = [.. fields[0].Split('-').Select(address => ulong.Parse(address, NumberStyles.HexNumber, CultureInfo.InvariantCulture))];
            PageTables.Fill((void*)range[0], (nuint)(range[1] - range[0]), writable: false);
        }
    }

    private static string Error() => PosixFile.Describe(Marshal.GetLastSystemError());

    [LibraryImport("libc", EntryPoint = "prctl")]
    private static partial int ProcessControl(int option, nuint argument2, nuint argument3, nuint argument4, nuint argument5);

    [LibraryImport("libc", EntryPoint = "mlockall")]
    private static partial int LockAll(int flags);

    [LoggerMessage(73, LogLevel.Warning, "a shortage of memory may stop this process if the machine's memory is written to its disks: {Missing}")]
    private static partial void LogMissing(ILogger log, string missing);
}
