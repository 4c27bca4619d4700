namespace MuenBlock.IoUring;

/// <summary>What an entry does (IORING_OP_*, linux/io_uring.h). Those that this library prepares.</summary>
public enum Operation : byte
{
    /// <summary>Nothing; completes with 0.</summary>
    Nop = 0,

    /// <summary>fsync(2) or fdatasync(2).</summary>
    Sync = 3,

    /// <summary>pread(2) into a registered buffer.</summary>
    ReadFixed = 4,

    /// <summary>pwrite(2) from a registered buffer.</summary>
    WriteFixed = 5,

    /// <summary>poll(2) of one file.</summary>
    PollAdd = 6,

    /// <summary>A time-out.</summary>
    Timeout = 11,

    /// <summary>Cancels another entry.</summary>
    Cancel = 14,

    /// <summary>fallocate(2).</summary>
    Allocate = 17,

    /// <summary>pread(2).</summary>
    Read = 22,

    /// <summary>pwrite(2).</summary>
    Write = 23,

    /// <summary>A command of the file's own, such as ublk's. Since 5.19.</summary>
    Command = 46,

    /// <summary>Sleeps on a futex. Since 6.7.</summary>
    FutexWait = 51,

    /// <summary>Wakes sleepers of a futex. Since 6.7.</summary>
    FutexWake = 52,
}
