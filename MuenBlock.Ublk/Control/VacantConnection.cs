using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;

namespace MuenBlock.Ublk.Control;

/// <summary>
/// Sees to it that connections whose locks are held have no block devices from before, when new ones are to be added: two block devices of one disk, one of
/// them waiting with old writes, must not come to pass.
/// </summary>
/// <param name="control">The driver.</param>
/// <param name="machine">What else is looked at.</param>
internal sealed class VacantConnection(ControlPlane control, IRemovalMachine machine)
{
    private const int LookMilliseconds = 10;

    private static readonly TimeSpan s_losing = TimeSpan.FromSeconds(10); // the driver's own work after a server's end takes milliseconds

    /// <summary>How a device belongs to the connections.</summary>
    private enum Belonging
    {
        /// <summary>Its record is lost: it may be joined of any.</summary>
        Perhaps,

        /// <summary>It uses some of their regions.</summary>
        Shares,

        /// <summary>It was added with a request region that one of them has, by whose lock a connection has one client only.</summary>
        HasRequests,
    }

    /// <summary>Refuses connections of which a device waits for a server, or is about to, or is served with files that were there before theirs.</summary>
    /// <param name="connections">The connections. The caller holds their locks, so nobody else serves them.</param>
    /// <param name="directory">Where their regions are, by its one path (<see cref="RegionDirectory.Resolve"/>).</param>
    /// <param name="giveUp">Whether to wait no longer; asked again and again.</param>
    /// <exception cref="ProgramException">There is such a device, or it was given up.</exception>
    public void Check(QueueConnections connections, string directory, Func<bool> giveUp)
    {
        foreach (int id in machine.Ids())
        {
            long end = machine.Milliseconds + (long)s_losing.TotalMilliseconds;
            while (Remains(id, connections, directory, end)) Pause(id, giveUp);
        }
    }

    private void Pause(int id, Func<bool> giveUp)
    {
        if (giveUp()) throw new ProgramException(ExitCode.Busy, $"asked to end while the last server of /dev/ublkb{id} was waited for");
        machine.Sleep(LookMilliseconds);
    }

    /// <summary>Whether a device of the connections still has to lose its server. The kernel gives back a dead one's lock before the driver notices the death.</summary>
    private bool Remains(int id, QueueConnections connections, string directory, long end)
    {
        if (control.TryGetInfo(id) is not { } info || !Ownership.IsOurs(info) || info.State == DeviceState.Dead) return false;
        if (Use(info, connections, directory) is not { } use) return false;
        string of = use == Belonging.Perhaps ? $", whose record is lost and which may use any {info.HardwareQueues} connections, perhaps" : " of";
        if (info.Waits)
        {
            throw new ProgramException(
                ExitCode.Busy,
                $"/dev/ublkb{id}{of} {connections.Name} waits for a server: take it over ('muenblock-ublk recover {id}'), or give it up ('muenblock-ublk del --force {id}')");
        }

        // One that has let go of its device may go on with others.
        if (info.ServerPid > 0 && !machine.IsEnding(info.ServerPid) && machine.HasServer(id))
        {
            // It has other regions of the same names: another container's, or the files that were here before. Those may have writes of this disk in them.
            if (use != Belonging.HasRequests || !machine.FindsSame(info.ServerPid, directory)) return false;
            throw new ProgramException(
                ExitCode.Busy,
                $"/dev/ublkb{id} of {connections.Name} is served by process {info.ServerPid} from files in {directory} that have been replaced since: take it over with those that are there now ('muenblock-ublk upgrade {id}'), or delete it ('muenblock-ublk del {id}')");
        }

        if (machine.Milliseconds < end) return true;
        if (UnseenServer.MayServe(info, machine))
        {
            throw new ProgramException(
                ExitCode.Busy,
                $"/dev/ublkb{id}{of} {connections.Name} is served by {UnseenServer.Name}, with regions of the same names: give these ones other names (--conn at both ends), or another directory (--region-dir)");
        }

        throw new ProgramException(
            ExitCode.Busy,
            $"/dev/ublkb{id}{of} {connections.Name} has lost its server, but the kernel has not let go of it after {s_losing.TotalSeconds:0} s: try again; its log (dmesg) may say why");
    }

    /// <summary>
    /// How a device belongs to any of the connections; null if it does not. The kernel has one fingerprint for all of those that are joined: whether a
    /// single one of them is among them only the device's record tells.
    /// </summary>
    private Belonging? Use(in DeviceInfo info, QueueConnections connections, string directory)
    {
        uint print = Ownership.Connection(info);
        if (machine.TryLoadRecord((int)info.DeviceId) is { } record && QueueConnections.TryParse(record.Connection) is { } recorded && Ownership.Fingerprint(recorded, record.RegionDirectory) == print)
        {
            // A record of an earlier version may have the directory as it was spelled.
            if (RegionDirectory.Resolve(record.RegionDirectory) != directory || !recorded.ShareRegions(connections)) return null;
            return recorded.Members.Any(member => connections.Members.Any(other => other.Request == member.Request)) ? Belonging.HasRequests : Belonging.Shares;
        }

        if (info.HardwareQueues > 1) return Belonging.Perhaps;
        return connections.Members.Any(member => Ownership.Fingerprint(member, directory) == print) ? Belonging.HasRequests : null;
    }
}
