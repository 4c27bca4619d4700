using MuenBlock.Protocol.Programs;

namespace MuenBlock.Ublk.Control;

/// <summary>
/// Ends and removes block devices of ours that nobody uses, from another process than the one that serves them:
/// <list type="number">
/// <item>the device is stopped, unless somebody uses it; its server is told by its tags, which are aborted;</item>
/// <item>its server closes the character device, and may delete the device itself;</item>
/// <item>the device is deleted and its record goes;</item>
/// <item>a server that has no other device ends by itself, and takes its log along.</item>
/// </list>
/// </summary>
/// <param name="control">The driver.</param>
/// <param name="machine">What else is looked at.</param>
internal sealed class DeviceRemoval(ControlPlane control, IRemovalMachine machine)
{
    private const int LookMilliseconds = 10;

    private static readonly TimeSpan s_passingUse = TimeSpan.FromSeconds(2); // udev's look at a new device takes less
    private static readonly TimeSpan s_closing = TimeSpan.FromSeconds(30); // a server with I/O under way has that long to end it
    private static readonly TimeSpan s_ending = TimeSpan.FromSeconds(10); // a process without work takes milliseconds

    /// <summary>Removes a device.</summary>
    /// <param name="id">The N of /dev/ublkbN.</param>
    /// <exception cref="ProgramException">
    /// There is no such device; it is another program's; it is in use, then nothing was changed; or its server does not let go of it.
    /// </exception>
    public void Remove(int id)
    {
        DeviceInfo info = control.TryGetInfo(id)
            ?? throw new ProgramException(ExitCode.NotFound, $"there is no /dev/ublkb{id}: 'muenblock-ublk list' shows the devices there are");
        if (!Ownership.IsOurs(info))
            throw new ProgramException(ExitCode.NotFound, $"/dev/ublkb{id} is another program's{Process(DeviceSummary.ServerOf(info))}: it is left alone, delete it with that program");
        int? server = DeviceSummary.ServerOf(info);
        DeviceRecord? record = machine.TryLoadRecord(id);
        StopUnlessUsed(id);
        if (ServerLetsGo(id, server)) control.Delete(id);
        Await(s_ending, () => !machine.HasNodes(id));
        machine.DeleteRecord(id);
        if (server is { } pid) Await(s_ending, () => !machine.IsAlive(pid) || IsServer(pid));
        else if (record is not null && !machine.IsAlive(record.Pid) && !IsServer(record.Pid)) machine.DeleteServerLog(record);
    }

    private static string Process(int? pid) => pid is null ? string.Empty : $" (process {pid})";

    private void StopUnlessUsed(int id)
    {
        // Programs that look at every new block device (udev's, a partition scan) are waited for, not reported. What is mounted or
        // stacked upon stays so.
        bool stopped = false;
        IReadOnlyList<string> users = [];
        Await(s_passingUse, () =>
        {
            stopped = control.TryStop(id);
            if (!stopped) users = machine.Users(id);
            return stopped || users.Any(user => !user.StartsWith(DeviceHolders.OpenIn, StringComparison.Ordinal));
        });
        if (stopped) return;
        string use = users.Count == 0 ? "in use, by whom cannot be seen from here (the kernel itself, where it still waits for the partition table)" : string.Join(", ", users);
        throw new ProgramException(ExitCode.Busy, $"/dev/ublkb{id} is {use}: end that use, then delete it again; nothing was stopped");
    }

    /// <summary>Waits until the server of a device that was stopped has closed it.</summary>
    /// <returns>False if the device is gone already: its server deleted it itself.</returns>
    private bool ServerLetsGo(int id, int? server)
    {
        bool isThere = true;
        bool closed = Await(s_closing, () =>
        {
            // A device that was stopped has no server. One that has another was added since, with an id that had become free.
            isThere = control.TryGetInfo(id) is { State: DeviceState.Dead } now && (DeviceSummary.ServerOf(now) is not { } other || other == server);
            return !isThere || !machine.HasServer(id);
        });
        if (closed) return isThere;
        throw new ProgramException(
            ExitCode.Busy,
            $"/dev/ublkb{id} was stopped, but its server{Process(server)} still has /dev/ublkc{id} open after {s_closing.TotalSeconds:0} s: see its log, end it with 'kill -9', then delete the device again");
    }

    private bool IsServer(int pid) => machine.Ids().Any(id => control.TryGetInfo(id) is { } info && DeviceSummary.ServerOf(info) == pid);

    private bool Await(TimeSpan patience, Func<bool> condition)
    {
        long end = machine.Milliseconds + (long)patience.TotalMilliseconds;
        while (!condition())
        {
            if (machine.Milliseconds >= end) return false;
            machine.Sleep(LookMilliseconds);
        }

        return true;
    }
}

/// <summary>What a <see cref="DeviceRemoval"/> looks at besides the driver.</summary>
internal interface IRemovalMachine
{
    /// <summary>A clock that never goes back.</summary>
    long Milliseconds { get; }

    /// <summary>Waits.</summary>
    /// <param name="milliseconds">How long.</param>
    void Sleep(int milliseconds);

    /// <summary>The devices there are.</summary>
    IReadOnlyList<int> Ids();

    /// <summary>Who uses a block device; a phrase for each.</summary>
    /// <param name="id">The device.</param>
    IReadOnlyList<string> Users(int id);

    /// <summary>Whether a process has a device's character device open.</summary>
    /// <param name="id">The device.</param>
    bool HasServer(int id);

    /// <summary>Whether there are still nodes of a device that the driver does not have any more.</summary>
    /// <param name="id">The device.</param>
    bool HasNodes(int id);

    /// <summary>Whether there is such a process, which has not ended.</summary>
    /// <param name="pid">The process.</param>
    bool IsAlive(int pid);

    /// <summary>A device's record, or null.</summary>
    /// <param name="id">The device.</param>
    DeviceRecord? TryLoadRecord(int id);

    /// <summary>Removes a device's record.</summary>
    /// <param name="id">The device.</param>
    void DeleteRecord(int id);

    /// <summary>Removes the log of a server that cannot do so itself any more, unless a user named the file.</summary>
    /// <param name="record">A record of the server's.</param>
    void DeleteServerLog(DeviceRecord record);
}
