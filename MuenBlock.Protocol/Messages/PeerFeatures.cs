namespace MuenBlock.Protocol.Messages;

/// <summary>What an end can do beyond muenblock 2.0, told in <see cref="RequestKind.Features"/> (docs/wire-format.md, "Our extensions").</summary>
[Flags]
public enum PeerFeatures : ulong
{
    /// <summary>A plain muenblock 2.0 peer.</summary>
    None = 0,

    /// <summary>Answers; set by every peer that knows the request, as a status of 0 means a plain peer.</summary>
    Agrees = 1,

    /// <summary>Wakes a peer that announced its sleep by a futex on the channel's wc.</summary>
    Futex = 2,

    /// <summary>Answers <see cref="RequestKind.Traits"/>.</summary>
    Traits = 4,

    /// <summary>Wakes a peer that announced its sleep by the event of the channel that it writes.</summary>
    Events = 8,

    /// <summary>Answers <see cref="RequestKind.Identity"/>.</summary>
    Identity = 16,

    /// <summary>Answers <see cref="RequestKind.Watch"/>.</summary>
    Watch = 32,
}

/// <summary>What a device is like, told in <see cref="RequestKind.Traits"/> to a client that agreed on <see cref="PeerFeatures.Traits"/>.</summary>
[Flags]
public enum DeviceTraits : ulong
{
    /// <summary>Nothing is known.</summary>
    None = 0,

    /// <summary>The answer is one; set in every answer, as 0 means unknown.</summary>
    Known = 1,

    /// <summary>Writes and discards are refused.</summary>
    ReadOnly = 2,

    /// <summary>Discards do something.</summary>
    Discard = 4,

    /// <summary>The disk turns.</summary>
    Rotational = 8,
}
