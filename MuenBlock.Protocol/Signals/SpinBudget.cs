namespace MuenBlock.Protocol.Signals;

/// <summary>
/// How long an end looks for work before it sleeps. As long as about half of the looks find something: twice the moving average of how long
/// that took, and never longer than a bound. Else not at all, but for a look now and then that finds out whether that is still so.
/// Whether to gather (<see cref="PeerSignal{TIn, TOut}.Gathers"/>) is found by the same rule.
/// </summary>
/// <param name="bound">The longest look, in ticks of any clock; 0 for never.</param>
internal sealed class SpinBudget(long bound)
{
    /// <summary>
    /// Where looks find nothing, one sleep in so many is preceded by one; more often at first. Odd, as short and long waits may alternate: else all
    /// looks would meet the long ones.
    /// </summary>
    public const int RarestLook = 255;

    private const int Weight = 8; // of one look in the averages is an eighth: six misses in a row end the looking, six finds begin it anew
    private const int FullRate = 1 << 16;

    private const int Few = 4; // more I/Os in flight than this keep both ends busy without looking
    private const int Shift = 4; // what was in flight counts for a sixteenth less with each round of the loop

    private long _average;
    private int _hitRate = FullRate; // the share of the looks that found something, of FullRate
    private int _every = 1;
    private int _skipped;
    private int _peak; // the most in flight lately, in sixteenths

    /// <summary>
    /// Takes note of how many I/Os are in flight, once in a round of the loop. A deep queue that has just been answered, and is being filled again
    /// one by one, is not taken for a shallow one: looking would only find each I/O by itself.
    /// </summary>
    /// <param name="inFlight">How many.</param>
    /// <returns>Whether there are so few, and lately were, that looking pays.</returns>
    public bool NoteInFlight(int inFlight)
    {
        _peak = Math.Max(inFlight << Shift, _peak - (_peak >> Shift));
        return _peak <= Few << Shift;
    }

    /// <summary>How long to look now; 0 for not at all.</summary>
    public long Next()
    {
        if (_hitRate >= FullRate / 2) return Math.Min(bound, (_average * 2) + (bound / 8));
        if (++_skipped < _every) return 0;
        _skipped = 0;
        return bound;
    }

    /// <summary>A look found something.</summary>
    /// <param name="ticks">After how long.</param>
    public void Found(long ticks)
    {
        _average += (Math.Min(ticks, bound) - _average) / Weight;
        _hitRate += (FullRate - _hitRate) / Weight;
        _every = 1;
    }

    /// <summary>A look found nothing: the wait was longer by an unknown time.</summary>
    public void Missed()
    {
        _average += (bound - _average) / Weight;
        _hitRate -= _hitRate / Weight;
        _every = Math.Min((_every * 2) + 1, RarestLook);
    }

    /// <summary>Another thread kept the CPU for its slice meanwhile, which costs far more than a sleep: looks become rare at once.</summary>
    public void TookSlice()
    {
        _hitRate = 0;
        _every = RarestLook;
    }
}
