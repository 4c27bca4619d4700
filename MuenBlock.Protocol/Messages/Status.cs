namespace MuenBlock.Protocol.Messages;

/// <summary>The outcome of an I/O (docs/wire-format.md, "Request and response"): the values of Linux's <c>blk_status_t</c> (linux/blk_types.h).</summary>
public enum Status : ulong
{
    /// <summary>All of it was done.</summary>
    Ok = 0,

    /// <summary>The device cannot do this.</summary>
    NotSupported = 1,

    /// <summary>It took too long.</summary>
    TimedOut = 2,

    /// <summary>No space is left.</summary>
    NoSpace = 3,

    /// <summary>The way to the device failed.</summary>
    Transport = 4,

    /// <summary>The device failed.</summary>
    Target = 5,

    /// <summary>Another host has reserved the device.</summary>
    ReservationConflict = 6,

    /// <summary>The medium failed.</summary>
    Medium = 7,

    /// <summary>A checksum was wrong.</summary>
    Protection = 8,

    /// <summary>Something ran out.</summary>
    Resource = 9,

    /// <summary>Any other failure, and every request that breaks a rule.</summary>
    IoError = 10,
}

/// <summary>Translates between the wire's status and Linux's error numbers, as the block layer does (block/blk-core.c, <c>blk_errors</c>).</summary>
public static class StatusErrno
{
    // The order of Status: the index is the status, the value the errno (asm-generic/errno.h).
    private static readonly int[] s_errno = [0, 95, 110, 28, 67, 121, 52, 61, 84, 12, Eio];

    private const int Eio = 5;

    /// <summary>The error number that a client's kernel is given.</summary>
    /// <param name="status">A status as received: any value.</param>
    /// <returns>0 for <see cref="Status.Ok"/>, else a positive errno; EIO for what is not known.</returns>
    public static int ToErrno(ulong status) => status < (ulong)s_errno.Length ? s_errno[(int)status] : Eio;

    /// <summary>The status that a failed I/O is answered with.</summary>
    /// <param name="errno">A positive errno, or 0.</param>
    /// <returns>The status; <see cref="Status.IoError"/> for what has none of its own.</returns>
    public static Status FromErrno(int errno)
    {
        int index = Array.IndexOf(s_errno, errno);
        return index >= 0 ? (Status)index : Status.IoError;
    }
}
