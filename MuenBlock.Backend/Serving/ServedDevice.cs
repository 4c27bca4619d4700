using MuenBlock.Protocol.Messages;

namespace MuenBlock.Backend.Serving;

/// <summary>A device as a serving machine sees it: its geometry, and what of it is under way.</summary>
internal sealed class ServedDevice(ulong size, uint blockLength, DeviceTraits traits, bool hasSmart = false)
{
    /// <summary>Bytes at present.</summary>
    public ulong Size { get; set; } = size;

    /// <summary>Bytes: a power of two.</summary>
    public uint BlockLength { get; } = blockLength;

    /// <summary>What a client may be told of it.</summary>
    public DeviceTraits Traits { get; } = traits;

    /// <summary>Which disk it is, see <see cref="RequestKind.Identity"/>; 0 where that is not known.</summary>
    public ulong Identity { get; init; }

    /// <summary>Whether it has SMART data.</summary>
    public bool HasSmart { get; } = hasSmart;

    /// <summary>Whether writes and discards are refused.</summary>
    public bool IsReadOnly => (Traits & DeviceTraits.ReadOnly) != 0;

    /// <summary>
    /// Whether discards go to the disk. What its traits promise may turn out to be more than an image's file system can do: then discards are
    /// refused, and the traits stay, as every session has to be told the same.
    /// </summary>
    public bool CanDiscard { get; set; } = (traits & DeviceTraits.Discard) != 0;

    /// <summary>Writes and discards that are under way.</summary>
    public uint Writes { get; set; }

    /// <summary>Counts writes, discards and Syncs in the order of their arrival.</summary>
    public ulong Order { get; set; }

    /// <summary>The first slot of the Syncs that wait for writes; -1 for none.</summary>
    public int WaitingSyncs { get; set; } = -1;
}
