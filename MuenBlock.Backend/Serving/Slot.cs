using MuenBlock.Protocol.Messages;

namespace MuenBlock.Backend.Serving;

/// <summary>A request that is under way. Its index is the name of its I/O in the ring.</summary>
internal struct Slot
{
    /// <summary>What remains of a transfer: where on the device, in bytes.</summary>
    public ulong Offset;

    /// <summary>Where in the buffer, in bytes.</summary>
    public ulong BufferOffset;

    /// <summary>How many bytes of it.</summary>
    public ulong Remaining;

    /// <summary>The request's place in its device's order, for Syncs and what they wait for.</summary>
    public ulong Order;

    /// <summary>When the request came, in milliseconds of the machine's clock.</summary>
    public long Since;

    /// <summary>The request's tag.</summary>
    public uint Tag;

    /// <summary>Writes that a Sync still waits for.</summary>
    public uint Awaited;

    /// <summary>The next free slot, or the next waiting Sync of the device; -1 at the end.</summary>
    public int Next;

    /// <summary>Which session the request belongs to. Answers go to the current one only.</summary>
    public uint Session;

    /// <summary>What was asked for; None while the slot is free.</summary>
    public RequestKind Kind;

    /// <summary>On which device.</summary>
    public ushort Device;

    /// <summary>How often the kernel asked to try again.</summary>
    public byte Retries;

    /// <summary>Whether it is to be started again after a pause.</summary>
    public bool Paused;

    /// <summary>Whether a discard was sent the other way.</summary>
    public bool FellBack;

    /// <summary>Whether it was said that it takes long.</summary>
    public bool Stalled;
}
