using MuenBlock.Protocol.Signals;

namespace MuenBlock.Ublk.Session;

/// <summary>How long a session waits for its server, in milliseconds; <see cref="long.MaxValue"/> for ever.</summary>
/// <param name="Fail">After how long an I/O that was not answered fails, and all others with it.</param>
/// <param name="Warn">After how long an I/O that was not answered is worth a line.</param>
internal readonly record struct Patience(long Fail, long Warn)
{
    /// <summary>The session waits for ever and says nothing.</summary>
    public static Patience Endless => new(long.MaxValue, long.MaxValue);

    /// <summary>How often to look whether something takes too long: often enough to be an eighth late at most, a quarter where a second look decides, and never more than that costs.</summary>
    public long LookEvery => Least == long.MaxValue ? long.MaxValue : Math.Clamp(Least / 8, 10, 1_000);

    /// <summary>How late a look may be.</summary>
    public long Slack => Heartbeat.Slack(Least);

    private long Least => Math.Min(Fail, Warn);
}
