namespace MuenBlock.Ublk.Queues;

/// <summary>
/// How often devices may grow. Each time is a command to the driver, an event for all who watch block devices, and a line in two logs. Disks grow now and then, by
/// the hand of an administrator; a server that tells of more for ever is followed ever more slowly, and its devices are as large as it said when they are next looked at.
/// </summary>
internal sealed class GrowthPace
{
    /// <summary>The pause after the first time, in milliseconds. Each further one is twice as long as the one before.</summary>
    public const long ShortestPause = 1_000;

    /// <summary>The longest pause, in milliseconds.</summary>
    public const long LongestPause = 64_000;

    private long _pause = ShortestPause;
    private long _next = long.MinValue;

    /// <summary>Whether devices may grow now.</summary>
    /// <param name="now">Milliseconds.</param>
    public bool Allows(long now) => now >= _next;

    /// <summary>Devices have grown, or could not. A server that was quiet for as long as the longest pause is followed quickly again.</summary>
    /// <param name="now">Milliseconds.</param>
    public void Grown(long now)
    {
        if (_next != long.MinValue && now - _next >= LongestPause) _pause = ShortestPause;
        _next = now + _pause;
        _pause = Math.Min(2 * _pause, LongestPause);
    }

    /// <summary>Somebody has asked and is waiting: what was before does not count.</summary>
    public void Forget()
    {
        _pause = ShortestPause;
        _next = long.MinValue;
    }
}
