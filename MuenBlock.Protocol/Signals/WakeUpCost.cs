using System.Diagnostics;
using MuenBlock.Protocol.Programs;

namespace MuenBlock.Protocol.Signals;

/// <summary>
/// What it costs on this machine to put a thread to sleep and wake it up again: 2 us where a CPU's idle state is light, 10 us in many virtual
/// machines, 60 us under emulation. To look for work for a few times of that at most wastes little where it finds nothing.
/// </summary>
internal static class WakeUpCost
{
    private const int Rounds = 9; // enough that a quarter of them is not disturbed, few enough that nobody waits for the start
    private const int PauseMilliseconds = 1; // longer than idle CPUs stay awake for what may come
    private const int Looked = 4; // wake-ups: where both ends look, an I/O is spared two, and as much again may be looked for in vain
    private const double LeastMicroseconds = 20; // below that a look is too short for any disk
    private const double MostMicroseconds = 500; // what a busy moment at the start may make of it at most: half a slice of another thread

    private static readonly Lazy<TimeSpan> s_bound = new(() => TimeSpan.FromMicroseconds(Math.Clamp(Looked * Measure().TotalMicroseconds, LeastMicroseconds, MostMicroseconds)));

    /// <summary>
    /// The bound of a look that pays on this machine, 20 to 500 us: four times the cost of a wake-up. Measured when it is first asked for,
    /// which takes 10 ms; zero on a machine with one CPU.
    /// </summary>
    public static TimeSpan Bound => Environment.ProcessorCount > 1 ? s_bound.Value : TimeSpan.Zero;

    /// <summary>Measures it.</summary>
    /// <returns>Half of the lower quartile of some round trips between two threads that wait for each other: what else runs only adds to them.</returns>
    public static TimeSpan Measure()
    {
        using var ask = new AutoResetEvent(false);
        using var answer = new AutoResetEvent(false);
        var other = new Thread(() =>
        {
            for (int i = 0; i < Rounds; i++)
            {
                _ = ask.WaitOne();
                _ = answer.Set();
            }
        });
        Threads.Start(other);
        long[] ticks = new long[Rounds];
        foreach (ref long round in ticks.AsSpan())
        {
            // The other thread sleeps by then, and so does its CPU.
            Thread.Sleep(PauseMilliseconds);
            long start = Stopwatch.GetTimestamp();
            _ = ask.Set();
            _ = answer.WaitOne();
            round = Stopwatch.GetTimestamp() - start;
        }

        other.Join();
        Array.Sort(ticks);
        return new TimeSpan(ticks[Rounds / 4] * TimeSpan.TicksPerSecond / Stopwatch.Frequency / 2);
    }
}
