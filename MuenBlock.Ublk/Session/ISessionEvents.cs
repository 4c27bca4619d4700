using MuenBlock.Protocol.Messages;

namespace MuenBlock.Ublk.Session;

/// <summary>What a session tells those who watch it. None of it happens per I/O.</summary>
internal interface ISessionEvents
{
    /// <summary>The handshake is done: I/O goes through.</summary>
    /// <param name="serverFeatures">What the server can do beyond muenblock 2.0.</param>
    /// <param name="replayed">How many I/Os were sent again.</param>
    void Ready(PeerFeatures serverFeatures, ulong replayed);

    /// <summary>The server cannot be used: I/O fails.</summary>
    /// <param name="rule">The rule that it breaks, in words.</param>
    void Refused(string rule);

    /// <summary>The server's devices are not the disks that joined connections lead to: I/O waits until they are.</summary>
    /// <param name="rule">The rule that would be broken, in words.</param>
    void Disagrees(string rule)
    {
    }

    /// <summary>The server has other disks than those that this session began with, or does not let them be written any more: I/O waits for the right ones.</summary>
    /// <param name="rule">The rule that it breaks, in words.</param>
    void OtherDisk(string rule)
    {
    }

    /// <summary>The server has told the size of a device: because it was asked, or because it comes back with a larger one.</summary>
    /// <param name="device">Its id.</param>
    /// <param name="blocks">Its size. A larger one than before has been taken for what the kernel may be promised.</param>
    /// <param name="rule">The rule that it breaks, in words; the device then stays as it is. Null for a size that can be had.</param>
    void SizeTold(int device, ulong blocks, string? rule)
    {
    }

    /// <summary>An <c>AskSizes</c> has its answers.</summary>
    /// <param name="complete">Whether the server has answered.</param>
    void SizesAsked(bool complete)
    {
    }

    /// <summary>A question of the handshake was not answered in time; the handshake begins anew.</summary>
    void NoAnswer(RequestKind question, ushort device);

    /// <summary>An answer came that nobody had asked for. It was dropped.</summary>
    void Stray(in Response response);

    /// <summary>The server did not answer for too long: I/O fails until it has answered a Reset.</summary>
    /// <param name="failed">How many I/Os were given up.</param>
    /// <param name="milliseconds">How long the oldest of them had waited.</param>
    void Lost(int failed, long milliseconds)
    {
    }

    /// <summary>An I/O takes longer than it should.</summary>
    /// <param name="io">The I/O.</param>
    /// <param name="milliseconds">How long it has taken.</param>
    void Stalled(in InFlight io, long milliseconds)
    {
    }

    /// <summary>An I/O that was told of as stalled has ended.</summary>
    /// <param name="io">The I/O.</param>
    /// <param name="milliseconds">How long it took.</param>
    /// <param name="result">Its length or 0, or a negative errno.</param>
    void StallEnded(in InFlight io, long milliseconds, int result)
    {
    }
}
