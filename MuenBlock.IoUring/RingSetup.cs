namespace MuenBlock.IoUring;

/// <summary>Properties that a ring is created with (IORING_SETUP_*, linux/io_uring.h).</summary>
[Flags]
public enum RingSetup : uint
{
    /// <summary>Completions are looked for at the device.</summary>
    PollDevices = 1 << 0,

    /// <summary>A thread of the kernel submits.</summary>
    SubmissionThread = 1 << 1,

    /// <summary>The number of completion entries is given.</summary>
    CompletionQueueSize = 1 << 3,

    /// <summary>Takes nothing until it is enabled, so that it can be restricted before.</summary>
    StartsDisabled = 1 << 6,

    /// <summary>An entry that is refused does not end the submission of those behind it. Since 5.18.</summary>
    SubmitAll = 1 << 7,

    /// <summary>Completions are worked off when the thread enters the kernel anyway, without an interrupt. Since 5.19.</summary>
    CooperativeTaskRun = 1 << 8,

    /// <summary>A flag in shared memory tells that such work waits. Since 5.19.</summary>
    TaskRunFlag = 1 << 9,

    /// <summary>Entries have 128 bytes. Since 5.19.</summary>
    LargeEntries = 1 << 10,

    /// <summary>One thread alone submits. Since 6.0.</summary>
    SingleIssuer = 1 << 12,

    /// <summary>Completions are worked off only inside io_uring_enter with GETEVENTS, by a single issuer. Since 6.1.</summary>
    DeferTaskRun = 1 << 13,

    /// <summary>Entries are taken in the order of the ring, without a table of indices. Since 6.6.</summary>
    NoIndexTable = 1 << 16,
}
