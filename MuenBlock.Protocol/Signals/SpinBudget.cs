namespace MuenBlock.Protocol.Signals;

/// <summary>
/// How long an end looks for work before it sleeps: while waits have lately been short, twice their moving average, and never longer than
/// a bound. Where they have been longer, not at all, but for one look now and then that finds out whether they still are.
/// </summary>
/// <param name="bound">The longest look, in ticks of any clock; 0 for never.</param>
internal sealed class SpinBudget(long bound)
{
    /// <summary>While waits are long, one sleep in so many is preceded by a look.</summary>
    public const int RetryEvery = 32;

    private const int Weight = 4; // a wait counts for a quarter of the average, so two or three misses end the looking
    private const int MissedWaits = 4; // a look that found nothing counts as so many bounds: the wait was longer by an unknown time

    private long _average;
    private int _skipped;

    /// <summary>How long to look now; 0 for not at all.</summary>
    public long Next()
    {
        if (_average <= bound) return Math.Min(bound, (_average * 2) + (bound / 8));
        if (++_skipped < RetryEvery) return 0;
        _skipped = 0;
        return bound;
    }

    /// <summary>A look found something.</summary>
    /// <param name="ticks">After how long.</param>
    public void Found(long ticks)
    {
        _average = Math.Min(_average, bound);
        _average += (ticks - _average) / Weight;
    }

    /// <summary>A look found nothing.</summary>
    public void Missed() => _average += ((bound * MissedWaits) - _average) / Weight;
}
