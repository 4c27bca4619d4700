namespace MuenBlock.IoUring;

/// <summary>How an entry is treated, whatever it does (IOSQE_*, linux/io_uring.h).</summary>
[Flags]
public enum EntryFlags : byte
{
    /// <summary>The file is a slot of the registered files, not a descriptor.</summary>
    FixedFile = 1,

    /// <summary>Starts only when every entry before it is complete; those behind it wait.</summary>
    Drain = 2,

    /// <summary>The next entry starts when this one has succeeded, and is cancelled if it fails or is short.</summary>
    Link = 4,

    /// <summary>The next entry starts when this one is complete, however it ended.</summary>
    HardLink = 8,

    /// <summary>Runs on a kernel worker thread at once, without an attempt to run inline.</summary>
    Async = 16,

    /// <summary>The kernel picks a buffer of <see cref="SubmissionEntry.BufferGroup"/>.</summary>
    BufferSelect = 32,

    /// <summary>No completion is posted unless it fails. Since 5.17.</summary>
    SkipSuccess = 64,
}

/// <summary>How a file's own command is treated (IORING_URING_CMD_*, linux/io_uring.h).</summary>
[Flags]
public enum CommandFlags : uint
{
    /// <summary>The command uses the registered buffer <see cref="SubmissionEntry.BufferIndex"/>.</summary>
    FixedBuffer = 1 << 0,

    /// <summary>The command completes again and again, with <see cref="EntryFlags.BufferSelect"/>. Since 6.18.</summary>
    Multishot = 1 << 1,
}

/// <summary>What a time-out measures (IORING_TIMEOUT_*, linux/io_uring.h). Without a flag: a span, on the monotonic clock.</summary>
[Flags]
public enum TimeoutFlags : uint
{
    /// <summary>The time is a point on the clock, not a span.</summary>
    Absolute = 1 << 0,

    /// <summary>Measured on the boot clock, which goes on during suspend.</summary>
    BootClock = 1 << 2,

    /// <summary>Measured on the wall clock.</summary>
    RealClock = 1 << 3,

    /// <summary>Expiry counts as success, so that it does not break a link.</summary>
    ExpiryIsSuccess = 1 << 5,

    /// <summary>Expires again and again. Since 6.4.</summary>
    Multishot = 1 << 6,
}
