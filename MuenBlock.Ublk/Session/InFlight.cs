using MuenBlock.Protocol.Messages;

namespace MuenBlock.Ublk.Session;

/// <summary>A block I/O that the kernel waits for. Its index is the slot: device and tag.</summary>
internal struct InFlight
{
    /// <summary>Where on the device, in bytes.</summary>
    public ulong Offset;

    /// <summary>Where in the buffer, in bytes: the slot, or the applications' memory.</summary>
    public ulong BufferOffset;

    /// <summary>The order in which I/O arrived, for sending it again.</summary>
    public ulong Order;

    /// <summary>When it arrived, in milliseconds of the session's clock.</summary>
    public long Since;

    /// <summary>Bytes; 0 for a Sync.</summary>
    public uint Length;

    /// <summary>The tag that was last sent for it, unlike every other that the server may still know.</summary>
    public uint Tag;

    /// <summary>What was asked for; None while the slot is free.</summary>
    public RequestKind Kind;

    /// <summary>On which device of the connection.</summary>
    public ushort Device;

    /// <summary>Whether a server may know of it.</summary>
    public bool Sent;

    /// <summary>Whether it was said that it takes long.</summary>
    public bool Stalled;

    /// <summary>
    /// Whether the kernel was given another place than the slot for its next I/O, as the server might still have touched the slot.
    /// Outlives the I/O.
    /// </summary>
    public bool Elsewhere;

    /// <summary>Whether it was not sent yet, as the server would merge it with one that is in flight.</summary>
    public bool Held;
}
