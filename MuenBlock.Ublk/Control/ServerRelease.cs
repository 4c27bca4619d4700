using MuenBlock.Protocol.Programs;

namespace MuenBlock.Ublk.Control;

/// <summary>
/// Takes all devices of a serving process out of its hands, so that another program can serve them. The driver is asked for it
/// (QUIESCE_DEV): what the server has it still answers, new I/O waits, and the process ends with its last answer. Where the driver cannot
/// (it cannot with tags that come in batches, see BlockDevice), or the server does not end in time, it is killed; then what it had is issued again. Nobody who uses the devices sees an error.
/// </summary>
/// <param name="control">The driver.</param>
/// <param name="machine">What else is looked at.</param>
internal sealed class ServerRelease(ControlPlane control, IRemovalMachine machine)
{
    private const int LookMilliseconds = 5;

    private static readonly TimeSpan s_quiescing = TimeSpan.FromSeconds(2); // a device with a tag to spare is quiet at once
    private static readonly TimeSpan s_finishing = TimeSpan.FromSeconds(5); // for I/O that the backend still has
    private static readonly TimeSpan s_ending = TimeSpan.FromSeconds(30); // of a killed process

    /// <summary>Ends the server of a device.</summary>
    /// <param name="id">The device.</param>
    /// <param name="check">Throws where a connection's next server would not start: then this one stays.</param>
    /// <returns>The first device of each of the server's connections that is still there, and what it belongs to.</returns>
    /// <exception cref="ProgramException">It has no server that can be replaced; then nothing was changed. Or its server does not end.</exception>
    public IReadOnlyList<(int Id, WaitingConnection Connection)> Release(int id, Action<WaitingConnection> check)
    {
        DeviceInfo named = control.TryGetInfo(id)
            ?? throw new ProgramException(ExitCode.NotFound, $"there is no /dev/ublkb{id}: 'muenblock-ublk list' shows the devices there are");
        if (!Ownership.IsOurs(named)) throw new ProgramException(ExitCode.NotFound, $"/dev/ublkb{id} is another program's");
        if (UnseenServer.MayServe(named, machine))
            throw new ProgramException(ExitCode.Busy, $"/dev/ublkb{id} is served by {UnseenServer.Name}: 'upgrade' has to run where that process can be seen");
        if (named.Server is not { } server || named.State != DeviceState.Live)
            throw new ProgramException(ExitCode.NotFound, $"/dev/ublkb{id} has no server: 'muenblock-ublk recover {id}' gives it one");
        if ((named.Flags & ControlPlane.Recoverable) != ControlPlane.Recoverable)
            throw new ProgramException(ExitCode.Environment, $"/dev/ublkb{id} does not outlive its server, as this kernel's driver has no recovery: end its use, delete it and add it anew");
        if (machine.TryLoadRecord(id) is { LogFile: null } foreground && foreground.Pid == server)
            throw new ProgramException(ExitCode.Busy, $"/dev/ublkb{id} is served in the foreground by process {server}: let its service manager start the new program, with 'add --recover' ('kill -9 {server}' ends the old one)");

        // What cannot be found again must not be let go.
        DeviceInfo[] devices = [.. machine.Ids().Select(other => control.TryGetInfo(other)).OfType<DeviceInfo>().Where(info => Ownership.IsOurs(info) && info.State == DeviceState.Live && info.ServerPid == server)];
        (int Id, WaitingConnection Connection)[] connections =
            [.. devices.GroupBy(info => Ownership.Connection(info)).Select(group => ((int)group.First().DeviceId, RecoveryPlan.Identify([.. group], machine)))];
        foreach ((_, WaitingConnection connection) in connections) check(connection);

        bool quiet = true;
        foreach (DeviceInfo info in devices) quiet &= TryQuiesce(info);
        if (!quiet || !Await(s_finishing, () => !machine.IsAlive(server))) Kill(server, devices);

        // One that was deleted meanwhile cannot stand for its connection.
        var left = new List<(int Id, WaitingConnection Connection)>();
        foreach ((_, WaitingConnection connection) in connections)
        {
            int first = connection.Devices.Select(info => (int)info.DeviceId).FirstOrDefault(IsThere, -1);
            if (first >= 0) left.Add((first, connection));
        }

        return left;
    }

    /// <summary>Quiesces a device. Whatever is wrong with it, as that somebody stops it at this moment: others have left their server already, and need the next one.</summary>
    private bool TryQuiesce(in DeviceInfo info)
    {
        if (!info.Flags.HasFlag(UblkFeatures.Quiesce)) return false;
        try
        {
            return control.TryQuiesce((int)info.DeviceId, s_quiescing);
        }
        catch (ProgramException)
        {
            return false;
        }
    }

    /// <summary>Whether a device is still there. If the driver does not say so the next server has to find out: there must be one for the others.</summary>
    private bool IsThere(int id)
    {
        try
        {
            return control.TryGetInfo(id) is not null;
        }
        catch (ProgramException)
        {
            return true;
        }
    }

    private void Kill(int server, DeviceInfo[] devices)
    {
        bool killed = Array.Exists(devices, info => machine.TryKillServer((int)info.DeviceId, server));
        if (Await(s_ending, () => !machine.IsAlive(server))) return;
        throw new ProgramException(
            ExitCode.Kernel,
            $"process {server} {(killed ? "was killed, but " : string.Empty)}has not ended after {s_ending.TotalSeconds:0} s; the kernel's log (dmesg) may say what it waits for: when it has ended, 'muenblock-ublk recover --all' serves its devices again");
    }

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
