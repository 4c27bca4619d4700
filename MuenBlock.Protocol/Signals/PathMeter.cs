using MuenBlock.IoUring;

namespace MuenBlock.Protocol.Signals;

/// <summary>What a connection's thread did for the I/O of a session besides the I/O: system calls of its rings, sleeps, wakes of its peer.</summary>
/// <param name="rings">The thread's rings.</param>
public sealed class PathMeter(params Ring[] rings)
{
    private ulong _enters;
    private ulong _sleeps;
    private ulong _wakes;

    private ulong Enters
    {
        get
        {
            ulong sum = 0;
            foreach (Ring ring in rings) sum += ring.Enters;
            return sum;
        }
    }

    /// <summary>Begins to count.</summary>
    /// <param name="sleeps">Sleeps so far.</param>
    /// <param name="wakes">Wakes so far.</param>
    public void Restart(ulong sleeps, ulong wakes) => (_enters, _sleeps, _wakes) = (Enters, sleeps, wakes);

    /// <summary>What was counted, per I/O: for a log line.</summary>
    /// <param name="sleeps">Sleeps so far.</param>
    /// <param name="wakes">Wakes so far.</param>
    /// <param name="ios">I/Os since <see cref="Restart"/>.</param>
    /// <returns>A phrase.</returns>
    public string Describe(ulong sleeps, ulong wakes, ulong ios)
    {
        double number = Math.Max(ios, 1);
        return string.Create(
            System.Globalization.CultureInfo.InvariantCulture,
            $"{(Enters - _enters) / number:0.000} io_uring_enter, {(sleeps - _sleeps) / number:0.000} sleeps, {(wakes - _wakes) / number:0.000} wakes");
    }
}
