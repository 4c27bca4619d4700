namespace MuenBlock.Protocol.Messages;

/// <summary>
/// What <see cref="Request.DeviceOffset"/> counts (docs/wire-format.md, "Request and response"). The original's description says bytes, both of
/// its servers count sectors; so it is sectors unless the operator says otherwise, on both ends alike.
/// </summary>
public enum OffsetUnit
{
    /// <summary>Sectors of 512 bytes, whatever the block length.</summary>
    Sectors,

    /// <summary>Bytes.</summary>
    Bytes,
}
