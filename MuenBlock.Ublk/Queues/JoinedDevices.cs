using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Queues;

/// <summary>What the servers of joined connections have in common. Whether their devices are the same disks the sessions see to (<see cref="JoinedSessions"/>).</summary>
internal static class JoinedDevices
{
    /// <summary>Compares what servers export, so that a block device may use any of them for any I/O.</summary>
    /// <param name="servers">The devices that each has told of, with its connection's id.</param>
    /// <returns>The devices; what a request may have is what every server takes.</returns>
    /// <exception cref="ProgramException">They do not export the same.</exception>
    public static DeviceGeometry[] Meet(IReadOnlyList<(uint Connection, IReadOnlyList<DeviceGeometry> Devices)> servers)
    {
        (uint first, IReadOnlyList<DeviceGeometry> devices) = servers[0];
        DeviceGeometry[] common = [.. devices];
        foreach ((uint other, IReadOnlyList<DeviceGeometry> others) in servers.Skip(1))
        {
            if (others.Count != common.Length) throw Refuse($"connection {other} has {others.Count} device(s), and connection {first} has {common.Length}");
            for (int device = 0; device < common.Length; device++)
            {
                (DeviceGeometry here, DeviceGeometry there) = (common[device], others[device]);

                // A disk that grows just now may not have its new size on every connection yet.
                bool same = here.Identity != 0 && here.Identity == there.Identity && here.Blocks != 0 && there.Blocks != 0;
                if ((here.BlockLength, here.Traits) != (there.BlockLength, there.Traits) || (here.Blocks != there.Blocks && !same))
                    throw Refuse($"device {device} has {Describe(there)} on connection {other}, and {Describe(here)} on connection {first}");
                common[device] = here with
                {
                    Blocks = Math.Min(here.Blocks, there.Blocks),
                    MostBlocks = there.MostBytes < here.MostBytes ? there.MostBlocks : here.MostBlocks,
                    Identity = here.Identity != 0 ? here.Identity : there.Identity,
                };
            }
        }

        return common;
    }

    /// <summary>What two connections say of a device: as large as the smaller of the sizes, as I/O may take either; which disk, as either can tell.</summary>
    /// <param name="one">The device as a connection's server described it last.</param>
    /// <param name="other">The same of another connection, or what several have in common.</param>
    public static DeviceGeometry Common(in DeviceGeometry one, in DeviceGeometry other) =>
        (other.Blocks < one.Blocks ? other : one) with { Identity = one.Identity != 0 ? one.Identity : other.Identity };

    private static string Describe(in DeviceGeometry geometry) => $"{geometry.Blocks} blocks of {geometry.BlockLength} bytes ({geometry.Traits})";

    private static ProgramException Refuse(string difference) =>
        new(ExitCode.Peer, $"the connections cannot be joined: {difference}; let the backend export the same devices on all of them, such as --device /dev/sda:1+2");
}
