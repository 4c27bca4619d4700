namespace MuenBlock.Protocol.Programs;

/// <summary>
/// How far a process may write into a file (RLIMIT_FSIZE). A write that begins beyond is a signal which ends the program, with all of its
/// connections; and a client would only have to write there, to an image or by what it makes a program log.
/// </summary>
public static unsafe class FileSizeLimit
{
    private const int Sigxfsz = 25; // asm-generic/signal.h
    private const int Ignore = 1; // SIG_IGN

    /// <summary>How many bytes of a file can be written; <see cref="ulong.MaxValue"/> if any number.</summary>
    public static ulong Bytes
    {
        get
        {
            ResourceLimit limit;
            return ResourceLimit.Get(ResourceLimit.FileSize, &limit) == 0 ? limit.Soft : ulong.MaxValue;
        }
    }

    /// <summary>From now on a write beyond the limit fails (EFBIG) and does nothing else, and the limit is as high as this process may set it.</summary>
    public static void Lift()
    {
        var action = new SignalAction { Handler = Ignore };
        _ = SignalAction.Set(Sigxfsz, &action, null);
        ResourceLimit limit;
        if (ResourceLimit.Get(ResourceLimit.FileSize, &limit) != 0) return;
        limit.Soft = limit.Hard;
        _ = ResourceLimit.Set(ResourceLimit.FileSize, &limit);
    }
}
