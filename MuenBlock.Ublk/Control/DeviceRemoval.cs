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
/// By force it goes whoever uses it, with a server that is stuck; nothing waits longer than its deadline.
/// </summary>
/// <param name="control">The driver.</param>
/// <param name="machine">What else is looked at.</param>
internal sealed class DeviceRemoval(ControlPlane control, IRemovalMachine machine)
{
    private const int LookMilliseconds = 10;
    private const int RemindMilliseconds = 1_000; // see ControlPlane.Stop

    private static readonly TimeSpan s_passingUse = TimeSpan.FromSeconds(2); // udev's look at a new device takes less
    private static readonly TimeSpan s_closing = TimeSpan.FromSeconds(30); // a server with I/O under way has that long to end it
    private static readonly TimeSpan s_ending = TimeSpan.FromSeconds(10); // a process without work takes milliseconds

    /// <summary>Removes a device.</summary>
    /// <param name="id">The N of /dev/ublkbN.</param>
    /// <param name="force">
    /// Whether it goes though somebody uses it or its server is stuck: I/O that is under way fails, and a server that does not end it is killed.
    /// </param>
    /// <exception cref="ProgramException">
    /// There is no such device; it is another program's; it is in use, then nothing was changed; or its server does not let go of it.
    /// </exception>
    public void Remove(int id, bool force = false)
    {
        DeviceInfo info = control.TryGetInfo(id)
            ?? throw new ProgramException(ExitCode.NotFound, $"there is no /dev/ublkb{id}: 'muenblock-ublk list' shows the devices there are");
        if (!Ownership.IsOurs(info))
            throw new ProgramException(ExitCode.NotFound, $"/dev/ublkb{id} is another program's{Process(info.Server)}: it is left alone, delete it with that program");
        int? server = info.Server;
        DeviceRecord? record = machine.TryLoadRecord(id);

        // One that was stopped bears no process's number. To stop what is being made would make that fail, or do nothing.
        if (!force && info.State == DeviceState.Dead && server is { } adding && machine.HasServer(id) && !machine.IsEnding(adding))
            throw new ProgramException(ExitCode.Busy, $"/dev/ublkb{id} is being added at this moment{Process(server)}: delete it when that has ended");
        if (force) StopByForce(id, info, server);
        else StopUnlessUsed(id, info, server);

        // A device that was stopped before does not bear its server's number any more.
        if (ServerLetsGo(id, server, info.Flags.HasFlag(UblkFeatures.BatchIo), force ? server ?? record?.Pid : null)) Delete(id, force);
        Await(s_ending, () => !machine.HasNodes(id) || IsUsable(id));
        CheckIsGone(id, info);

        // The record may be that of another device, which got the id meanwhile.
        if (machine.TryLoadRecord(id) is not { } left || (left.Pid, left.Started) == (record?.Pid, record?.Started)) machine.DeleteRecord(id);
        if (server is { } pid) Await(s_ending, () => !machine.IsAlive(pid) || IsServer(pid));
        else if (record is not null && !machine.IsAlive(record.Pid) && !IsServer(record.Pid)) machine.DeleteServerLog(record);
    }

    private bool IsUsable(int id) => control.TryGetInfo(id) is { State: not DeviceState.Dead };

    /// <summary>What was stopped before it was started has been started since. By force a device may be there, dead, until its last user has closed it.</summary>
    private void CheckIsGone(int id, DeviceInfo before)
    {
        if (control.TryGetInfo(id) is { State: not DeviceState.Dead } now && now.ServerFlags == before.ServerFlags && now.ServerPid == before.ServerPid)
            throw new ProgramException(ExitCode.Busy, $"/dev/ublkb{id} was not deleted: it was started at the same moment{Process(now.Server)}: delete it again");
    }

    private static string Process(int? pid) => pid is null ? string.Empty : $" (process {pid})";

    private void StopUnlessUsed(int id, DeviceInfo info, int? server)
    {
        // Programs that look at every new block device (udev's, a partition scan) are waited for, not reported. What is mounted or
        // stacked upon stays so.
        bool stopped = false;
        long inFlight = 0;
        IReadOnlyList<string> users = [];
        Await(s_passingUse, () =>
        {
            // To stop a device whose I/O does not end would wait for it for ever, and keep the driver from doing anything else with it.
            inFlight = info.Waits ? 0 : machine.InFlight(id);
            stopped = inFlight == 0 && control.TryStop(id);
            if (!stopped) users = machine.Users(id);
            return stopped || users.Any(user => !user.StartsWith(DeviceHolders.OpenIn, StringComparison.Ordinal));
        });
        if (stopped) return;
        string use = users.Count > 0 ? string.Join(", ", users)
            : inFlight > 0 ? $"busy with {inFlight} I/O(s) that do not end: its backend may not answer"
            : "in use, by whom cannot be seen from here (the kernel itself, where it still waits for the partition table)";
        string waits = UnseenServer.MayServe(info, machine) ? $"; it is served by {UnseenServer.Name}"
            : server is null ? "; it waits for a server: 'muenblock-ublk recover' gives it one, 'del --force' gives it up"
            : string.Empty;
        throw new ProgramException(ExitCode.Busy, $"/dev/ublkb{id} is {use}: end that use, then delete it again; nothing was stopped{waits}");
    }

    private void StopByForce(int id, in DeviceInfo info, int? server)
    {
        // One that waits has no I/O that the driver could wait for. One with a server may need it to end what is under way.
        if (server is { } pid)
        {
            if (StopInTime(id)) return;
            Kill(id, pid);
        }
        else if (UnseenServer.MayServe(info, machine))
        {
            if (StopInTime(id)) return;
            throw new ProgramException(ExitCode.Busy, $"/dev/ublkb{id} cannot be stopped, and its server is {UnseenServer.Name}: end that process where it can be seen, then delete the device again");
        }

        control.Stop(id);
    }

    /// <summary>Stops a device if its server ends what is under way, so that nothing is lost that can be saved.</summary>
    private bool StopInTime(int id)
    {
        if (!Await(s_passingUse, () => machine.InFlight(id) == 0)) return false;
        try
        {
            control.Stop(id);
            return true;
        }
        catch (ProgramException failure) when (failure.ExitCode == ExitCode.Kernel)
        {
            return false; // the command goes on, and ends when the server does
        }
    }

    private void Kill(int id, int server)
    {
        if (!machine.TryKillServer(id, server))
            throw new ProgramException(ExitCode.Busy, $"/dev/ublkb{id} cannot be stopped, and its server{Process(server)} is not ours to kill: it does not have /dev/ublkc{id} open");
        if (Await(s_closing, () => control.TryGetInfo(id) is not { State: DeviceState.Live })) return;
        throw new ProgramException(
            ExitCode.Kernel,
            $"/dev/ublkb{id} is as it was: its server{Process(server)} was killed, but has not ended after {s_closing.TotalSeconds:0} s; the kernel's log (dmesg) may say what it waits for");
    }

    private void Delete(int id, bool force)
    {
        if (!force)
        {
            control.Delete(id);
            return;
        }

        // Somebody may have it open for as long as they like: their I/O fails, and the number becomes free when they close it.
        control.DeleteSoon(id);
    }

    /// <summary>Waits until the server of a device that was stopped has closed it. One that may be killed is, if it is too stuck for that.</summary>
    /// <returns>False if the device is gone already: its server deleted it itself.</returns>
    private bool ServerLetsGo(int id, int? server, bool isBatched, int? mayBeKilled)
    {
        bool isThere = true;
        long next = machine.Milliseconds + RemindMilliseconds;
        long stuck = machine.Milliseconds + (long)s_ending.TotalMilliseconds;
        bool closed = Await(s_closing, () =>
        {
            // A device that was stopped has no server. One that has another was added since, with an id that had become free.
            isThere = control.TryGetInfo(id) is { State: DeviceState.Dead } now && (now.Server is not { } other || other == server);
            if (!isThere || !machine.HasServer(id)) return true;
            if (mayBeKilled is { } pid && machine.Milliseconds >= stuck)
            {
                mayBeKilled = null;
                _ = machine.TryKillServer(id, pid);
            }

            if (!isBatched || machine.Milliseconds < next) return false;
            next = machine.Milliseconds + RemindMilliseconds;
            control.Stop(id);
            return false;
        });
        if (closed) return isThere;
        throw new ProgramException(
            ExitCode.Busy,
            $"/dev/ublkb{id} was stopped, but its server{Process(server)} still has /dev/ublkc{id} open after {s_closing.TotalSeconds:0} s: see its log, or end it with 'muenblock-ublk del --force {id}'");
    }

    private bool IsServer(int pid) => machine.Ids().Any(id => control.TryGetInfo(id) is { } info && info.Server == pid);

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
internal interface IRemovalMachine : IRecoveryMachine
{
    /// <summary>Who uses a block device; a phrase for each.</summary>
    /// <param name="id">The device.</param>
    IReadOnlyList<string> Users(int id);

    /// <summary>I/Os that a block device has been given and that have not ended.</summary>
    /// <param name="id">The device.</param>
    long InFlight(int id);

    /// <summary>Kills the process that serves a device.</summary>
    /// <param name="id">The device.</param>
    /// <param name="pid">The process.</param>
    /// <returns>False if it is not that device's server.</returns>
    bool TryKillServer(int id, int pid);

    /// <summary>Asks the process that serves a device to look at the size of its disk (SIGUSR1).</summary>
    /// <param name="id">The device.</param>
    /// <param name="pid">The process.</param>
    /// <returns>False if it is not that device's server.</returns>
    bool TryAskServer(int id, int pid);

    /// <summary>Whether a process has a device's character device open.</summary>
    /// <param name="id">The device.</param>
    bool HasServer(int id);

    /// <summary>Whether a process finds the same folder under a path as this one: it does not in a container, or another root, that has its own.</summary>
    /// <param name="pid">The process.</param>
    /// <param name="folder">The folder's full path.</param>
    bool FindsSame(int pid, string folder);

    /// <summary>Whether there are still nodes of a device that the driver does not have any more.</summary>
    /// <param name="id">The device.</param>
    bool HasNodes(int id);

    /// <summary>Removes a device's record.</summary>
    /// <param name="id">The device.</param>
    void DeleteRecord(int id);

    /// <summary>Removes the log of a server that cannot do so itself any more, unless a user named the file.</summary>
    /// <param name="record">A record of the server's.</param>
    void DeleteServerLog(DeviceRecord record);
}
