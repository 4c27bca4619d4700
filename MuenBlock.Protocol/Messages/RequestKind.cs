namespace MuenBlock.Protocol.Messages;

/// <summary>What a request asks for (docs/wire-format.md, "Request and response"). Values above 0x20 are ours and used only after they were agreed ("Our extensions").</summary>
public enum RequestKind : ushort
{
    /// <summary>Nothing; an original server does not answer it.</summary>
    None = 0x0000,

    /// <summary>Disk to buffer.</summary>
    Read = 0x0001,

    /// <summary>Buffer to disk.</summary>
    Write = 0x0002,

    /// <summary>The contents of a range are no longer needed; what a later read of it returns is undefined.</summary>
    Discard = 0x0003,

    /// <summary>Makes durable what was written before.</summary>
    Sync = 0x0004,

    /// <summary>The device's SMART data: 512 bytes into the buffer.</summary>
    GetSmart = 0x0005,

    /// <summary>The size of the device, in blocks.</summary>
    MediaBlocks = 0x0010,

    /// <summary>The size of a block, in bytes.</summary>
    BlockLength = 0x0011,

    /// <summary>How many requests may be in flight. Original servers never answer it.</summary>
    MaxRequests = 0x0019,

    /// <summary>The most blocks that one read, write or discard may have.</summary>
    MaxBlocksCount = 0x001a,

    /// <summary>How many devices the connection has.</summary>
    MaxDevices = 0x001b,

    /// <summary>Ends what is under way; answered once nothing is.</summary>
    Reset = 0x001f,

    /// <summary>Ours: the length field holds the client's <see cref="PeerFeatures"/>, the status the server's.</summary>
    Features = 0x0021,

    /// <summary>Ours: the status holds the device's <see cref="DeviceTraits"/>.</summary>
    Traits = 0x0022,

    /// <summary>
    /// Ours: the status holds a number for the disk that the device is: the same on two connections only if their devices are the same disk; 0 if that
    /// cannot be told. Odd numbers are for good (<see cref="DiskIdentity"/>), even ones until the server's machine is started again.
    /// </summary>
    Identity = 0x0023,

    /// <summary>
    /// Ours: the length field holds a count that the client has from the server, or 0, and the status is the server's: how often the size of any
    /// device of the connection has changed, counted from 1. The answer is held back until the two differ.
    /// </summary>
    Watch = 0x0024,
}
