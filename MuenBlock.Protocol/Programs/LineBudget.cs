using Microsoft.Extensions.Logging;

namespace MuenBlock.Protocol.Programs;

/// <summary>
/// Bounds how many lines are logged of what the other end causes, as the other end decides how often it happens: so many in a
/// minute, then one that says that the rest of the minute's are left out. One thread at a time may use an instance.
/// </summary>
/// <param name="log">Where the lines go.</param>
/// <param name="about">What they are about, for the last one.</param>
/// <param name="lines">How many there may be in a minute.</param>
public sealed partial class LineBudget(ILogger log, string about, int lines)
{
    private const long PeriodMilliseconds = 60_000;

    private long _periodEnd = long.MinValue;
    private int _spent;

    /// <summary>Takes a line out of the budget.</summary>
    /// <returns>Whether it may be logged.</returns>
    public bool Allows()
    {
        long now = Environment.TickCount64;
        if (now >= _periodEnd)
        {
            _periodEnd = now + PeriodMilliseconds;
            _spent = 0;
        }

        _spent = Math.Min(_spent + 1, lines + 2);
        if (_spent == lines + 1) LogExhausted(log, about);
        return _spent <= lines;
    }

    [LoggerMessage(60, LogLevel.Warning, "{About}: more happened than is worth a line each; the rest of the minute's are left out")]
    private static partial void LogExhausted(ILogger log, string about);
}
