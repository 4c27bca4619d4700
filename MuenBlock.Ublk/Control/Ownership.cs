using System.Text;
using MuenBlock.Protocol;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;

namespace MuenBlock.Ublk.Control;

/// <summary>
/// Tells our block devices from those of other ublk servers: the kernel keeps 64 bits for the server with each device
/// (ublksrv_flags), and ours begin with a mark. So it is known also when every file that describes the device is lost, and so is
/// what must not be guessed when another server takes it over: what offsets count, and whether a connection is the one that it was added with.
/// <list type="table">
/// <item><term>bits 32 to 63</term><description>the mark, "MUEN"</description></item>
/// <item><term>bits 9 to 31</term><description>a fingerprint of the connection's regions, or of all joined connections'</description></item>
/// <item><term>bit 8</term><description>whether offsets are bytes</description></item>
/// <item><term>bits 0 to 7</term><description>the device's id on the connection</description></item>
/// </list>
/// </summary>
internal static class Ownership
{
    private const ulong Magic = 0x4d55454e; // "MUEN"
    private const int MagicShift = 32;
    private const int ConnectionShift = 9;
    private const uint ConnectionMask = (1u << (MagicShift - ConnectionShift)) - 1;
    private const ulong BytesFlag = 1ul << 8;

    /// <summary>What a device of ours is marked with.</summary>
    /// <param name="device">Its id on the connection.</param>
    /// <param name="unit">What offsets count on the connection.</param>
    /// <param name="connection">The connection's fingerprint.</param>
    public static ulong Mark(byte device, OffsetUnit unit, uint connection) =>
        Magic << MagicShift | (ulong)(connection & ConnectionMask) << ConnectionShift | (unit == OffsetUnit.Bytes ? BytesFlag : 0) | device;

    /// <summary>Whether a device is ours.</summary>
    public static bool IsOurs(in DeviceInfo info) => info.ServerFlags >> MagicShift == Magic;

    /// <summary>Whether a device is still the one that a process added or took over, and not one that got its id afterwards.</summary>
    /// <param name="info">What the driver has under that id.</param>
    /// <param name="mark">What that process's device is marked with.</param>
    /// <param name="pid">The process.</param>
    public static bool IsStill(in DeviceInfo info, ulong mark, int pid) => info.ServerFlags == mark && (info.Server is not { } server || server == pid);

    /// <summary>Whether the driver still has a device, whoever serves it by now. Its id alone does not tell, as that may be another device's.</summary>
    /// <param name="control">The driver.</param>
    /// <param name="id">The device.</param>
    /// <param name="mark">What it is marked with.</param>
    /// <returns>True also if that cannot be told.</returns>
    public static bool IsStillThere(ControlPlane control, int id, ulong mark)
    {
        try
        {
            return control.TryGetInfo(id) is { } info && info.ServerFlags == mark;
        }
        catch (ProgramException)
        {
            return true;
        }
    }

    /// <summary>The id on its connection of a device of ours.</summary>
    public static byte DeviceIndex(in DeviceInfo info) => (byte)info.ServerFlags;

    /// <summary>What offsets count on the connection of a device of ours.</summary>
    public static OffsetUnit Unit(in DeviceInfo info) => (info.ServerFlags & BytesFlag) != 0 ? OffsetUnit.Bytes : OffsetUnit.Sectors;

    /// <summary>The fingerprint of the connections that a device of ours was added with.</summary>
    public static uint Connection(in DeviceInfo info) => (uint)(info.ServerFlags >> ConnectionShift) & ConnectionMask;

    /// <summary>
    /// 23 bits of a connection: the names of its regions and where they are. What differs in them is another connection. Joined ones have
    /// one for all of them, whatever their order: which of them is which queue makes no difference to a device that is taken over.
    /// </summary>
    /// <param name="connections">The connections.</param>
    /// <param name="regionDirectory">The directory of their regions.</param>
    public static uint Fingerprint(QueueConnections connections, string regionDirectory)
    {
        uint hash = 0;
        foreach (ConnectionString connection in connections.Members) hash += Hash(connection, regionDirectory);
        return (hash ^ (hash >> (MagicShift - ConnectionShift))) & ConnectionMask;
    }

    /// <summary>23 bits of a connection that is not joined with others.</summary>
    /// <param name="connection">The connection.</param>
    /// <param name="regionDirectory">The directory of its regions.</param>
    public static uint Fingerprint(ConnectionString connection, string regionDirectory) => Fingerprint(new QueueConnections(connection), regionDirectory);

    private static uint Hash(ConnectionString connection, string regionDirectory)
    {
        // FNV-1a (draft-eastlake-fnv), folded: the kernel keeps it longer than a program runs, so it must not depend on the runtime.
        const uint basis = 2166136261;
        const uint prime = 16777619;
        string directory = Path.TrimEndingDirectorySeparator(Path.GetFullPath(regionDirectory));
        uint hash = basis;
        foreach (byte value in Encoding.UTF8.GetBytes($"{directory}\0{connection.Request}\0{connection.Response}\0{connection.Buffer}"))
            hash = (hash ^ value) * prime;
        return hash;
    }
}
