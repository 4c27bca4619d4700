using MuenBlock.Protocol;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;

namespace MuenBlock.Ublk.Control;

/// <summary>The devices of a connection, or of joined ones, that wait for a server. One process takes over all of them: a connection has one client.</summary>
/// <param name="Connections">The connections.</param>
/// <param name="RegionDirectory">Where their regions are.</param>
/// <param name="Unit">What offsets count on it.</param>
/// <param name="Record">The record of one of the devices; null if they are all lost.</param>
/// <param name="Devices">The devices, in the order of their ids on the connection.</param>
internal sealed record WaitingConnection(QueueConnections Connections, string RegionDirectory, OffsetUnit Unit, DeviceRecord? Record, IReadOnlyList<DeviceInfo> Devices);

/// <summary>What a device belongs to that waits for a server, or is about to.</summary>
/// <param name="Id">The device.</param>
/// <param name="Connections">Its connections.</param>
/// <param name="RegionDirectory">Where their regions are.</param>
internal sealed record FoundConnection(int Id, QueueConnections Connections, string RegionDirectory);

/// <summary>
/// Finds out what is to be taken over after the death of a server: which devices wait, and what connection they belong to. The kernel
/// itself knows the former and can confirm the latter, so nothing depends on the records being whole.
/// </summary>
/// <param name="control">The driver.</param>
/// <param name="machine">What else is looked at.</param>
/// <param name="giveUp">Whether to wait no longer; asked again and again.</param>
internal sealed class RecoveryPlan(ControlPlane control, IRecoveryMachine machine, Func<bool> giveUp)
{
    private const int LookMilliseconds = 10;

    private static readonly TimeSpan s_glance = TimeSpan.FromSeconds(1); // a process that was just killed looks alive for a moment
    private static readonly TimeSpan s_ending = TimeSpan.FromSeconds(30); // a dying server's last I/O, and the driver's own work after it

    /// <summary>The devices that have no server, or lose it at this moment.</summary>
    public IReadOnlyList<int> Candidates() => Losing(static _ => true);

    /// <summary>The devices of a connection, or of joined ones, that wait.</summary>
    /// <param name="connections">The connections.</param>
    /// <param name="directory">Where their regions are.</param>
    /// <returns>The devices; null if none waits.</returns>
    public WaitingConnection? Of(QueueConnections connections, string directory)
    {
        uint fingerprint = Ownership.Fingerprint(connections, directory);
        int first = Losing(info => info.HardwareQueues == connections.Count && Ownership.Connection(info) == fingerprint).FirstOrDefault(-1);
        return first < 0 ? null : Of(first, connections.Members, directory);
    }

    /// <summary>What a device belongs to that waits, or is about to. A server's end is not waited for: whoever takes the device over does that.</summary>
    /// <param name="id">The device.</param>
    /// <param name="given">Connections that were named; the device's own may be among them, joined ones one after another.</param>
    /// <param name="directory">The region directory that was named, or null.</param>
    /// <exception cref="ProgramException">It is not about to wait, or what it belongs to is not known.</exception>
    public FoundConnection Find(int id, IReadOnlyList<ConnectionString> given, string? directory)
    {
        DeviceInfo info = Await(id, orIsAboutTo: true);
        (QueueConnections connections, string found) = Identify(info, FindRecord(info), given, directory);
        return new FoundConnection(id, connections, found);
    }

    /// <summary>The record of a device or, where that is lost, of another one of its connection, which names the same connection.</summary>
    private DeviceRecord? FindRecord(DeviceInfo info)
    {
        IEnumerable<int> siblings = machine.Ids().Where(id => control.TryGetInfo(id) is { } other && Ownership.IsOurs(other) && Ownership.Connection(other) == Ownership.Connection(info));
        return siblings.Prepend((int)info.DeviceId).Select(machine.TryLoadRecord).OfType<DeviceRecord>().FirstOrDefault();
    }

    /// <summary>The connection of a device that waits, or is about to, with all of that connection's devices.</summary>
    /// <param name="id">The device.</param>
    /// <param name="given">Connections that were named; the device's own may be among them, joined ones one after another.</param>
    /// <param name="directory">The region directory that was named, or null.</param>
    /// <exception cref="ProgramException">It does not wait, or what it belongs to is not known.</exception>
    public WaitingConnection Of(int id, IReadOnlyList<ConnectionString> given, string? directory)
    {
        DeviceInfo named = Await(id);
        DeviceRecord? record = machine.TryLoadRecord(id);
        (QueueConnections connections, string found) = Identify(named, record, given, directory);

        // Its siblings have lost the same server, or a later one that died before it had taken over all of them. One whose record is lost is found all the same.
        var devices = new List<DeviceInfo> { named };
        foreach (int other in Losing(info => info.DeviceId != id && Ownership.Connection(info) == Ownership.Connection(named), named.ServerPid))
        {
            devices.Add(Await(other));
            record ??= machine.TryLoadRecord(other);
        }

        foreach (IGrouping<byte, DeviceInfo> same in devices.GroupBy(info => Ownership.DeviceIndex(info)).Where(group => group.Count() > 1))
        {
            string paths = string.Join(" and ", same.Select(info => $"/dev/ublkb{info.DeviceId}"));
            throw new ProgramException(ExitCode.Busy, $"{paths} both are device {same.Key} of {Describe(connections)}: delete one of them ('muenblock-ublk del --force')");
        }

        return new WaitingConnection(connections, found, Ownership.Unit(named), record, [.. devices.OrderBy(info => Ownership.DeviceIndex(info))]);
    }

    /// <summary>What devices of one connection belong to, without changing anything.</summary>
    /// <param name="devices">The devices.</param>
    /// <param name="machine">Where their records are.</param>
    /// <exception cref="ProgramException">It is not known.</exception>
    public static WaitingConnection Identify(IReadOnlyList<DeviceInfo> devices, IRecoveryMachine machine)
    {
        DeviceRecord? record = devices.Select(info => machine.TryLoadRecord((int)info.DeviceId)).OfType<DeviceRecord>().FirstOrDefault();
        (QueueConnections connections, string directory) = Identify(devices[0], record, [], directory: null);
        return new WaitingConnection(connections, directory, Ownership.Unit(devices[0]), record, devices);
    }

    private static string Describe(QueueConnections connections) => $"connection{(connections.Count > 1 ? "s" : string.Empty)} {connections}";

    private static (QueueConnections Connections, string Directory) Identify(in DeviceInfo info, DeviceRecord? record, IReadOnlyList<ConnectionString> given, string? directory)
    {
        string where = directory ?? record?.RegionDirectory ?? RegionDirectory.Default();
        QueueConnections[] recorded = record is not null && QueueConnections.TryParse(record.Connection) is { } known ? [known] : [];
        foreach (QueueConnections connections in Runs(given, info.HardwareQueues).Concat(recorded))
        {
            // A device that an earlier version added may have the directory as it was spelled.
            foreach (string place in new[] { RegionDirectory.Resolve(where), Path.GetFullPath(where) })
            {
                if (connections.Count == info.HardwareQueues && Ownership.Fingerprint(connections, place) == Ownership.Connection(info)) return (connections, place);
            }
        }

        uint id = info.DeviceId;
        string joined = info.HardwareQueues > 1 ? $" (it has {info.HardwareQueues} queues: name as many connections, one after another)" : string.Empty;
        if (given.Count > 0 || directory is not null)
        {
            throw new ProgramException(
                ExitCode.Usage,
                $"/dev/ublkb{id} was added with another connection than {string.Join(" or ", given.Select(connection => $"{connection}").Concat(recorded.Select(connections => $"{connections}")).Distinct(StringComparer.Ordinal))} in {where}: name the --conn and the --region-dir that it was added with{joined}");
        }

        throw new ProgramException(
            ExitCode.Resource,
            $"what /dev/ublkb{id} belongs to is not known, as its record in {DeviceRecord.Directory} is lost or damaged: name its connection again, 'muenblock-ublk recover {id} --conn CONNECTION [--region-dir DIR]'{joined}");
    }

    // The connections of a device with several queues are named one after another.
    private static IEnumerable<QueueConnections> Runs(IReadOnlyList<ConnectionString> given, int queues) =>
        Enumerable.Range(0, Math.Max(0, given.Count - queues + 1)).Select(first => new QueueConnections([.. given.Skip(first).Take(queues)]));

    /// <summary>The devices that have no server, or lose it at this moment. Whether one has lost a server that cannot be seen from here shows at a glance.</summary>
    /// <param name="wanted">Which devices to look at.</param>
    /// <param name="server">A process that is no server any more, whatever becomes of it.</param>
    private int[] Losing(Func<DeviceInfo, bool> wanted, int server = -1)
    {
        int[] ids = [.. machine.Ids().Where(id => control.TryGetInfo(id) is { } info && Ownership.IsOurs(info) && wanted(info) && (info.Waits || Loses(info)))];
        long end = machine.Milliseconds + (long)s_glance.TotalMilliseconds;
        while (machine.Milliseconds < end && Array.Exists(ids, IsUnseen)) Pause(Array.Find(ids, IsUnseen));
        return [.. ids.Where(id => !IsUnseen(id))];

        bool Loses(in DeviceInfo info) => info.State == DeviceState.Live && (info.ServerPid == server || !IsServed(info));
        bool IsUnseen(int id) => control.TryGetInfo(id) is { } info && UnseenServer.MayServe(info, machine);
    }

    /// <summary>Waits until a device whose server has died is ready to be taken over.</summary>
    /// <param name="id">The device.</param>
    /// <param name="orIsAboutTo">Whether it is enough that it will be.</param>
    private DeviceInfo Await(int id, bool orIsAboutTo = false)
    {
        long start = machine.Milliseconds;
        while (true)
        {
            DeviceInfo info = control.TryGetInfo(id)
                ?? throw new ProgramException(ExitCode.NotFound, $"there is no /dev/ublkb{id}: 'muenblock-ublk list' shows the devices there are");
            if (!Ownership.IsOurs(info)) throw new ProgramException(ExitCode.NotFound, $"/dev/ublkb{id} is another program's: recover it with that program");
            if (info.Waits) return info;
            if (info.State != DeviceState.Live)
                throw new ProgramException(ExitCode.NotFound, $"/dev/ublkb{id} was stopped, or never started: there is nothing to recover, 'muenblock-ublk del {id}' removes it");

            string? server = IsServed(info) ? $"process {info.ServerPid}" : UnseenServer.MayServe(info, machine) ? UnseenServer.Name : null;
            if (server is null && orIsAboutTo) return info;
            if (machine.Milliseconds - start >= (server is null ? s_ending : s_glance).TotalMilliseconds)
            {
                throw server is null
                    ? new ProgramException(ExitCode.Kernel, $"the server of /dev/ublkb{id} has died, but the kernel has not let go of it after {s_ending.TotalSeconds:0} s: try again; its log (dmesg) may say why")
                    : new ProgramException(ExitCode.Busy, $"/dev/ublkb{id} is served by {server}: there is nothing to recover");
            }

            Pause(id);
        }
    }

    private void Pause(int id)
    {
        if (giveUp()) throw new ProgramException(ExitCode.Busy, $"asked to end while the last server of /dev/ublkb{id} was waited for");
        machine.Sleep(LookMilliseconds);
    }

    private bool IsServed(in DeviceInfo info) => info.ServerPid > 0 && !machine.IsEnding(info.ServerPid);
}

/// <summary>What a <see cref="RecoveryPlan"/> looks at besides the driver.</summary>
internal interface IRecoveryMachine
{
    /// <summary>A clock that never goes back.</summary>
    long Milliseconds { get; }

    /// <summary>Waits.</summary>
    /// <param name="milliseconds">How long.</param>
    void Sleep(int milliseconds);

    /// <summary>Whether every process of the machine can be seen from here: not from a PID namespace that has one above it.</summary>
    bool SeesAllProcesses { get; }

    /// <summary>The devices there are.</summary>
    IReadOnlyList<int> Ids();

    /// <summary>Whether there is such a process, which has not ended.</summary>
    /// <param name="pid">The process.</param>
    bool IsAlive(int pid);

    /// <summary>Whether a process has ended, or is about to and cannot help it.</summary>
    /// <param name="pid">The process.</param>
    bool IsEnding(int pid);

    /// <summary>A device's record, or null.</summary>
    /// <param name="id">The device.</param>
    DeviceRecord? TryLoadRecord(int id);
}
