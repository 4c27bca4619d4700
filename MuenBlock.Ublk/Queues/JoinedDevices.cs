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
                if ((here.Blocks, here.BlockLength, here.Traits) != (there.Blocks, there.BlockLength, there.Traits))
                    throw Refuse($"device {device} has {Describe(there)} on connection {other}, and {Describe(here)} on connection {first}");
                common[device] = here with
                {
                    MostBlocks = there.MostBytes < here.MostBytes ? there.MostBlocks : here.MostBlocks,
                    Identity = here.Identity != 0 ? here.Identity : there.Identity,
                };
            }
        }

        return common;
    }

    private static string Describe(in DeviceGeometry geometry) => $"{geometry.Blocks} blocks of {geometry.BlockLength} bytes ({geometry.Traits})";

    private static ProgramException Refuse(string difference) =>
        new(ExitCode.Peer, $"the connections cannot be joined: {difference}; let the backend export the same devices on all of them, such as --device /dev/sda:1+2");
}
