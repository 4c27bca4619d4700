using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Signals;

namespace MuenBlock.Backend.Serving;

/// <content>
/// Notices I/O that takes long. Every request has the time of its arrival; once in a while all that are under way are looked at. Nothing is
/// done about them: the disk's own driver has its time-outs, and a client has its patience.
/// </content>
internal sealed partial class ServingMachine<TDisks, TResponses>
{
    private const long LookMilliseconds = 1_000;

    private long _nextLook;

    /// <summary>The time, in milliseconds of a clock that does not go back; set before requests are accepted.</summary>
    public long Now { get; set; }

    /// <summary>Where I/O that takes long is told of; null for nowhere.</summary>
    public StallLog? Stalls { get; init; }

    /// <summary>After how long, in milliseconds.</summary>
    public long StallMilliseconds { get; init; } = long.MaxValue;

    /// <summary>When <see cref="Tick"/> is needed at the latest, in milliseconds of <see cref="Now"/>; <see cref="long.MaxValue"/> for never.</summary>
    public long Deadline => Math.Min(
        _paused == 0 ? long.MaxValue : _pauseEnds,
        Stalls is null || _underWay == 0 ? long.MaxValue : _nextLook + Heartbeat.Slack(StallMilliseconds));

    /// <summary>When the oldest request that is under way came, in milliseconds of <see cref="Now"/>; <see cref="long.MaxValue"/> if none is. A look at every slot.</summary>
    public long Oldest
    {
        get
        {
            long oldest = long.MaxValue;
            if (_underWay == 0) return oldest;
            foreach (ref readonly Slot entry in _slots.AsSpan())
            {
                if (entry.Kind != RequestKind.None) oldest = Math.Min(oldest, entry.Since);
            }

            return oldest;
        }
    }

    /// <summary>Looks at what is under way, and starts what is paused, if it is time to.</summary>
    public void Tick()
    {
        // In this order: what was just started again no longer says that it waits for a thread.
        LookForStalls();
        if (_paused > 0) EndPause();
    }

    private void LookForStalls()
    {
        if (Stalls is null || Now < _nextLook) return;
        _nextLook = Now + Math.Min(LookMilliseconds, StallMilliseconds);
        if (_underWay == 0) return;
        foreach (ref Slot entry in _slots.AsSpan())
        {
            long age = Now - entry.Since;
            if (entry.Kind == RequestKind.None || entry.Stalled || age < StallMilliseconds) continue;
            entry.Stalled = true;
            Stalls.Begun(entry.Kind, entry.Device, entry.Offset, entry.Remaining, entry.Tag, age, Awaited(entry));
        }
    }

    private static string Awaited(in Slot entry) =>
        entry.Awaited > 0 ? $"it waits for {entry.Awaited} writes that came before it"
        : entry.Paused ? "the kernel has no thread for it: raise the limit on threads (ulimit -u, TasksMax)"
        : "the disk has not completed it";

    private void StallEnded(in Slot entry, ulong status) =>
        Stalls?.Ended(entry.Kind, entry.Device, entry.Tag, Now - entry.Since, entry.Kind == RequestKind.GetSmart ? 0 : StatusErrno.ToErrno(status));
}
