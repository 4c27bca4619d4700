using Microsoft.Win32.SafeHandles;
using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Regions;
using Tmds.Linux;
using static Tmds.Linux.LibC;

namespace MuenBlock.Protocol.Signals;

/// <summary>
/// How one end of a connection can be woken by the other and can wake it, as far as its two channels and the machine allow. Found
/// out once, by trying:
/// <list type="bullet">
/// <item>The file of a Muen channel that has an event can be polled: it is readable once for all events since the last poll.</item>
/// <item>A futex on the channel's wc works between programs of one kernel, in memory that has pages.</item>
/// <item>What has neither is looked at again and again.</item>
/// </list>
/// </summary>
public sealed unsafe class SignalWays : IDisposable
{
    private readonly FutexPage? _page;

    private SignalWays(Region incoming, Region outgoing, Doorbell? doorbell, string whyNoDoorbell)
    {
        Incoming = incoming.Name;
        Event = HasEvent(incoming.File) ? incoming.File : null;
        CanWaitByFutex = incoming.CanBePinned;
        CanWakeByFutex = doorbell is null && outgoing.CanBePinned;
        if (CanWaitByFutex && Event is null && !incoming.IsWritable) _page = FutexPage.TryMap(incoming);
        WaitWord = _page is null ? ChannelHeader.Futex((ChannelHeader*)incoming.Memory) : _page.Word;
        Doorbell = doorbell;
        WhyNoDoorbell = whyNoDoorbell;
    }

    /// <summary>The name of the channel that is read.</summary>
    public string Incoming { get; }

    /// <summary>The file of the channel that is read, where polling it tells of the peer's events; else null.</summary>
    public SafeFileHandle? Event { get; }

    /// <summary>Whether the channel that is read has pages, which a futex needs.</summary>
    public bool CanWaitByFutex { get; }

    /// <summary>The futex of the channel that is read, by the address that is best to wait at.</summary>
    public uint* WaitWord { get; }

    /// <summary>What the peer is woken with; null where there is no event.</summary>
    public Doorbell? Doorbell { get; }

    /// <summary>Why there is no doorbell, as a phrase.</summary>
    public string WhyNoDoorbell { get; }

    /// <summary>Whether the peer is woken by futex. Not where there is an event: then the channel is Muen's, and its reader not of this kernel.</summary>
    public bool CanWakeByFutex { get; }

    /// <summary>What the peer may be told of this end's wakes.</summary>
    public PeerFeatures Wakes => Doorbell is not null ? PeerFeatures.Events : CanWakeByFutex ? PeerFeatures.Futex : PeerFeatures.None;

    /// <summary>Finds the ways of an end.</summary>
    /// <param name="incoming">The channel that it reads. Outlives this.</param>
    /// <param name="outgoing">The channel that it writes.</param>
    /// <param name="eventDirectory">Where events are, or null if there are none on this machine.</param>
    public static SignalWays Find(Region incoming, Region outgoing, string? eventDirectory)
    {
        ArgumentNullException.ThrowIfNull(incoming);
        ArgumentNullException.ThrowIfNull(outgoing);
        string reason = "there is no event directory";
        Doorbell? doorbell = eventDirectory is null ? null : Doorbell.TryOpen(eventDirectory, outgoing.Name, out reason);
        return new SignalWays(incoming, outgoing, doorbell, reason);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Doorbell?.Dispose();
        _page?.Dispose();
    }

    // A channel's file is never writable in the sense of poll(2), is in error without an event, and else readable once per batch of
    // events. Ordinary files are always both readable and writable, as they have nothing to wait for.
    private static bool HasEvent(SafeFileHandle file)
    {
        pollfd look = new() { fd = PosixFile.Descriptor(file), events = (short)(POLLIN | POLLOUT) };
        return poll(&look, 1, 0) >= 0 && (look.revents & ~POLLIN) == 0;
    }
}
