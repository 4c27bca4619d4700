using MuenBlock.Backend.Disks;
using MuenBlock.Protocol;
using MuenBlock.Protocol.Programs;

namespace MuenBlock.Backend.Exports;

/// <summary>A connection and its devices; a device's place in the list is its id on the wire. One that is exported on several connections is the same object in all of them.</summary>
internal sealed record Export(ConnectionString Connection, IReadOnlyList<DeviceString> Devices);

/// <summary>Puts connections and devices together and refuses what cannot work.</summary>
internal static class ExportPlan
{
    /// <summary>Device ids are 16 bits on the wire; a bound that no configuration reaches keeps every table small.</summary>
    public const int MostDevices = 256;

    /// <summary>Makes the plan.</summary>
    /// <param name="connections">The connections.</param>
    /// <param name="devices">The devices, in the order of their ids.</param>
    /// <param name="readOnly">Whether the disks are only read.</param>
    /// <returns>An export per connection.</returns>
    /// <exception cref="ProgramException">The two do not fit together.</exception>
    public static IReadOnlyList<Export> Make(IReadOnlyList<ConnectionString> connections, IReadOnlyList<DeviceString> devices, bool readOnly)
    {
        RefuseSharedRegions(connections);
        var ids = new HashSet<uint>();
        foreach (ConnectionString connection in connections)
        {
            if (!ids.Add(connection.Id)) throw Refuse($"connection id {connection.Id} is used twice: give each connection a number of its own");
        }

        foreach (DeviceString device in devices)
        {
            foreach (uint id in device.Connections.Where(id => !ids.Contains(id))) throw Refuse($"device '{device.Path}' names connection {id}, which no --conn defines");
        }

        if (!readOnly) RefuseSharedDisks(devices);
        return [.. connections.Select(connection => WithDisks(connection, devices))];
    }

    private static Export WithDisks(ConnectionString connection, IReadOnlyList<DeviceString> devices)
    {
        DeviceString[] exported = [.. devices.Where(device => device.Connections.Contains(connection.Id))];
        return exported.Length switch
        {
            0 => throw Refuse($"connection {connection.Id} has no device: add --device path:{connection.Id}"),
            > MostDevices => throw Refuse($"connection {connection.Id} has {exported.Length} devices; {MostDevices} are the most"),
            _ => new Export(connection, exported),
        };
    }

    private static void RefuseSharedRegions(IReadOnlyList<ConnectionString> connections)
    {
        var owners = new Dictionary<string, uint>(StringComparer.Ordinal);
        foreach (ConnectionString connection in connections)
        {
            foreach (string region in (string[])[connection.Request, connection.Response, connection.Buffer])
            {
                if (!owners.TryAdd(region, connection.Id))
                    throw Refuse($"region '{region}' is used by connection {owners[region]} and by connection {connection.Id}: give each connection three regions of its own");
            }
        }
    }

    private static void RefuseSharedDisks(IReadOnlyList<DeviceString> devices)
    {
        (string Path, DiskExtent Extent)[] disks =
            [.. devices.Select(device => (device.Path, DiskExtent.Of(device.Path))).OrderBy(disk => disk.Item2.Storage, StringComparer.Ordinal).ThenBy(disk => disk.Item2.Start)];

        // In this order a disk that overlaps any before it overlaps its neighbour, as those do not overlap each other.
        for (int i = 1; i < disks.Length; i++)
        {
            if (disks[i].Extent.Overlaps(disks[i - 1].Extent))
                throw Refuse($"device '{disks[i].Path}' is exported for writing twice: it has blocks in common with '{disks[i - 1].Path}'; to export one on several connections, give it once, as path:1+2");
        }
    }

    private static ProgramException Refuse(string why) => new(ExitCode.Usage, why);
}
