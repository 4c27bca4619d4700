using static Tmds.Linux.LibC;

namespace MuenBlock.Ublk.Control;

/// <summary>The machine that a device is removed from, or taken over on.</summary>
/// <param name="system">The machine's files.</param>
/// <param name="holders">Who uses devices.</param>
/// <param name="directory">Where records are.</param>
internal sealed class RemovalMachine(SystemFiles system, DeviceHolders holders, string directory) : IRemovalMachine
{
    // The first PID namespace's own, since it is the same on every machine (PROC_PID_INIT_INO, include/linux/proc_ns.h).
    private const string FirstNamespace = "pid:[4026531836]";

    /// <summary>This one.</summary>
    public static RemovalMachine This { get; } = new(SystemFiles.Machine, DeviceHolders.Machine, DeviceRecord.Directory);

    /// <inheritdoc/>
    public long Milliseconds => Environment.TickCount64;

    /// <inheritdoc/>
    public void Sleep(int milliseconds) => Thread.Sleep(milliseconds);

    /// <inheritdoc/>
    public bool SeesAllProcesses => system.Link("/proc/self/ns/pid") is { } name ? name == FirstNamespace : system.Exists("/proc/self/ns"); // a kernel without them has one

    /// <inheritdoc/>
    public IReadOnlyList<int> Ids() => DeviceDirectory.Ids(system);

    /// <inheritdoc/>
    public IReadOnlyList<string> Users(int id) => holders.Of(id);

    /// <inheritdoc/>
    public long InFlight(int id) => holders.CountInFlight(id);

    /// <inheritdoc/>
    public bool TryKillServer(int id, int pid) => TrySignalServer(id, pid, SIGKILL);

    /// <inheritdoc/>
    public bool TryAskServer(int id, int pid) => ServerProcess.Notes(system, pid, SIGUSR1) && TrySignalServer(id, pid, SIGUSR1);

    private bool TrySignalServer(int id, int pid, int signal)
    {
        // Who has the character device open is the server. The time of its start tells that the number was not given anew meanwhile.
        ulong? started = ServerProcess.StartTime(system, pid);
        if (started is null || !holders.ServersOf(id).Contains(pid) || ServerProcess.StartTime(system, pid) != started) return false;
        return kill(pid, signal) == 0;
    }

    /// <inheritdoc/>
    public bool HasServer(int id) => holders.ServersOf(id).Count > 0;

    /// <inheritdoc/>
    public bool FindsSame(int pid, string folder) =>
        OpenFiles.IdentifyFile(system.At(folder)) is { } here && OpenFiles.IdentifyFile(system.At($"/proc/{pid}/root{folder}")) == here;

    /// <inheritdoc/>
    public bool HasNodes(int id)
    {
        // Where /dev is not the kernel's own, as in a container, a node stays behind and means nothing.
        bool isKernelsOwn = Array.Exists(system.Lines("/proc/self/mountinfo"), line => line.Contains(" /dev ", StringComparison.Ordinal) && line.Contains(" - devtmpfs ", StringComparison.Ordinal));
        return DeviceDirectory.Has(system, id) || (isKernelsOwn && (system.Exists($"/dev/ublkb{id}") || system.Exists($"/dev/ublkc{id}")));
    }

    /// <inheritdoc/>
    public bool IsAlive(int pid)
    {
        // The state follows the command, which may itself contain brackets (proc_pid_stat(5)). Z: nobody has asked yet how it ended.
        string? status = system.Text($"/proc/{pid}/stat");
        return status is not null && !status[(status.LastIndexOf(')') + 1)..].StartsWith(" Z", StringComparison.Ordinal);
    }

    /// <inheritdoc/>
    public bool IsEnding(int pid) => ServerProcess.IsEnding(system, pid);

    /// <inheritdoc/>
    public DeviceRecord? TryLoadRecord(int id) => DeviceRecord.TryLoad(id, directory);

    /// <inheritdoc/>
    public void DeleteRecord(int id) => DeviceRecord.Delete(id, directory);

    /// <inheritdoc/>
    public void DeleteServerLog(DeviceRecord record)
    {
        if (record.LogFile is { } log) ServerLogs.DeleteUnused(log, directory);
    }
}
