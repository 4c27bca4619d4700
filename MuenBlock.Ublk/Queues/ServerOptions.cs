using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Queues;

/// <summary>What the server of a connection, or of joined ones, is asked to do: to add devices, or to take over those that wait.</summary>
internal sealed class ServerOptions
{
    /// <summary>The connections.</summary>
    public required QueueConnections Connections { get; init; }

    /// <summary>Where their regions are.</summary>
    public required string RegionDirectory { get; init; }

    /// <summary>The id of the first block device that is added; -1 for any.</summary>
    public int Id { get; init; } = -1;

    /// <summary>The queue depth of added devices, or null.</summary>
    public int? Depth { get; init; }

    /// <summary>The largest I/O of added devices in bytes, or null.</summary>
    public uint? LargestIo { get; init; }

    /// <summary>The least number of bytes at the end of the buffer that are left to applications; 0 for none.</summary>
    public ulong ApplicationMemory { get; init; }

    /// <summary>Whether added devices are read-only even if the server would let them be written.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>Whether the tags of added devices come and go in batches; null where the driver can.</summary>
    public bool? Batch { get; init; }

    /// <summary>The devices to take over, in the order of their ids on the connection; none to add new ones.</summary>
    public IReadOnlyList<DeviceInfo> Waiting { get; init; } = [];

    /// <summary>Whether devices are taken over although the server has other disks than those that they were made of.</summary>
    public bool AcceptsOtherDisks { get; init; }

    /// <summary>How long the server may take to appear.</summary>
    public required TimeSpan ConnectTimeout { get; init; }

    /// <summary>How the connections are used.</summary>
    public required ConnectionOptions Serving { get; init; }

    /// <summary>The same as options of the command line, for the devices' records.</summary>
    public required string Recorded { get; init; }
}
