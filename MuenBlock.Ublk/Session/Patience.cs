namespace MuenBlock.Ublk.Session;

/// <summary>How long a session waits for its server, in milliseconds; <see cref="long.MaxValue"/> for ever.</summary>
/// <param name="Fail">After how long an I/O that was not answered fails, and all others with it.</param>
/// <param name="Warn">After how long an I/O that was not answered is worth a line.</param>
internal readonly record struct Patience(long Fail, long Warn)
{
    /// <summary>The session waits for ever and says nothing.</summary>
    public static Patience Endless => new(long.MaxValue, long.MaxValue);

    /// <summary>How often to look whether something takes too long: often enough to be an eighth late at most, and never more than that costs.</summary>
    public long LookEvery
    {
        get
        {
            long least = Math.Min(Fail, Warn);
            return least == long.MaxValue ? long.MaxValue : Math.Clamp(least / 8, 10, 1_000);
        }
    }
}
