using System.Runtime.CompilerServices;
using MuenBlock.IoUring;

namespace MuenBlock.Protocol.Signals;

/// <summary>
/// What ends a sleep that nothing else ends. A wake cannot be lost between two ends that keep the protocol; a peer that was replaced by one
/// that knows no wakes writes without waking, and is found after this long. One wake-up a second costs nothing.
/// </summary>
public sealed unsafe class Heartbeat
{
    /// <summary>The time between two beats. Whoever sleeps may be this late for what is not worth a time-out of its own.</summary>
    public const long Seconds = 1;

    /// <summary>The same in milliseconds.</summary>
    public const long Milliseconds = Seconds * 1_000;

    /// <summary>The same in nanoseconds.</summary>
    public const long Nanoseconds = Milliseconds * 1_000_000;

    // Read by the kernel when the entry is submitted, so it must not move until then.
    private readonly KernelTimespec[] _interval = GC.AllocateArray<KernelTimespec>(1, pinned: true);
    private bool _armed;

    /// <summary>Begins to beat with the first call of <see cref="Arm"/>.</summary>
    public Heartbeat() => _interval[0].Seconds = Seconds;

    /// <summary>How much later than planned something may be looked at that takes so long anyway: a beat, or nothing where that would show.</summary>
    /// <param name="milliseconds">How long it takes.</param>
    /// <returns>Milliseconds: at most a sixteenth of it.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Slack(long milliseconds) => milliseconds >= 16 * Milliseconds ? Milliseconds : 0;

    /// <summary>Sees to it that there is a next beat: one completion, and then <see cref="Came"/>.</summary>
    /// <param name="ring">The ring of the thread that sleeps.</param>
    /// <param name="userData">The completion's user data.</param>
    public void Arm(Ring ring, ulong userData)
    {
        ArgumentNullException.ThrowIfNull(ring);
        if (_armed) return;
        _armed = true;
        ref SubmissionEntry entry = ref ring.NextEntry();
        fixed (KernelTimespec* interval = _interval) entry.PrepareTimeout(interval);
        entry.UserData = userData;
    }

    /// <summary>A beat came.</summary>
    public void Came() => _armed = false;
}
