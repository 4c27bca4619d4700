using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Regions;
using MuenBlock.Protocol.Signals;

namespace MuenBlock.Backend.Serving;

/// <summary>How a connection is served.</summary>
/// <param name="OffsetUnit">What device offsets count.</param>
/// <param name="Wait">How requests are waited for.</param>
/// <param name="Spin">How long at most to look for work before sleeping.</param>
/// <param name="StallMilliseconds">After how long an I/O is worth a line; <see cref="long.MaxValue"/> for never.</param>
internal sealed record ConnectionOptions(OffsetUnit OffsetUnit, WaitMode Wait, TimeSpan Spin, long StallMilliseconds = long.MaxValue)
{
    /// <summary>Where the events of channels are; null if there are none.</summary>
    public string? EventDirectory { get; init; }

    /// <summary>After how long without work the kernel's thread that submits falls asleep; null where there is none (SQPOLL).</summary>
    public TimeSpan? SubmissionThreadIdle { get; init; }

    /// <summary>Whether disks are polled for completions instead of being waited for, where that is possible (IOPOLL).</summary>
    public bool PollsDisks { get; init; }

    /// <summary>On which CPUs the thread runs; any, if there are none.</summary>
    public IReadOnlyList<int> Cpus { get; init; } = [];

    /// <summary>How long at most a client is given, at the end, to read the last answers. Many polls of one that is not woken.</summary>
    public long HearingMilliseconds { get; init; } = 250;

    /// <summary>Tells whether the buffer's pages can be pinned. Only a device has pages that cannot: tests say so of others.</summary>
    public Func<Region, bool> CanBePinned { get; init; } = static region => region.CanBePinned;
}
