namespace MuenBlock.Protocol.Signals;

/// <summary>
/// Whether other threads have their turn on this CPU before an end sleeps. One that makes work for this end is soon done. One that only computes
/// keeps the CPU for its whole slice, and nothing that arrives meanwhile brings this end back, as it would a sleeper: after such a turn
/// there is none for a number of sleeps, twice as many each time.
/// </summary>
/// <param name="longest">How long a turn may take, in ticks of any clock.</param>
internal sealed class TurnBudget(long longest)
{
    /// <summary>Sleeps without a turn after the first one that was too long.</summary>
    public const int FirstPause = 64;

    /// <summary>Sleeps without a turn after many of them in a row.</summary>
    public const int LongestPause = 4096;

    private int _pause = FirstPause;
    private int _left;

    /// <summary>Whether others have their turn now.</summary>
    public bool Next()
    {
        if (_left == 0) return true;
        _left--;
        return false;
    }

    /// <summary>Others had their turn.</summary>
    /// <param name="ticks">For how long.</param>
    public void Took(long ticks)
    {
        if (ticks <= longest)
        {
            _pause = FirstPause;
            return;
        }

        _left = _pause;
        _pause = Math.Min(_pause * 2, LongestPause);
    }
}
