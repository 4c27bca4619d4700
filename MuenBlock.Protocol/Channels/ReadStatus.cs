namespace MuenBlock.Protocol.Channels;

/// <summary>What a look at a channel found (SHMStream v2, docs/wire-format.md, "Channel").</summary>
public enum ReadStatus
{
    /// <summary>Packets were copied.</summary>
    Success,

    /// <summary>The reader has every packet that was written.</summary>
    NoData,

    /// <summary>The writer has not initialised the channel, or has deactivated it.</summary>
    Inactive,

    /// <summary>The header has another marker, protocol, packet size or number of elements than this reader's.</summary>
    Incompatible,

    /// <summary>The writer began anew: what was read before belongs to a session that is over. The next read returns its first packets.</summary>
    NewEpoch,

    /// <summary>The writer overtook the reader: packets are lost. The reader goes on behind the newest one.</summary>
    Overrun,
}
