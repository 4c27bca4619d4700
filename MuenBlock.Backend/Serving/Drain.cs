using Microsoft.Extensions.Logging;
using MuenBlock.Protocol.Regions;

namespace MuenBlock.Backend.Serving;

/// <summary>
/// Waits for the last I/O of connections that were told to stop. A disk may never complete it, so it is said what is waited for, and whoever does
/// not want to wait can cut it short: what is under way then stays the kernel's, and the fences of regions and disks hold a successor up until
/// it has ended (<see cref="FileClaim"/>).
/// </summary>
/// <param name="log">Where to say it.</param>
/// <param name="clock">Milliseconds that do not go back.</param>
internal sealed partial class Drain(ILogger log, Func<long> clock)
{
    // After a failure the other connections are to be served again soon, whatever the disk of one of them does.
    private const long FailureMilliseconds = 30_000;

    // Whoever ends a process may do so twice at once: timeout(1) signals it and its group.
    private const long SameSignalMilliseconds = 1_000;

    // Some times as long as a connection takes to be heard (ConnectionOptions.HearingMilliseconds) and to end, once nothing is under way on it.
    private const long HearingMilliseconds = 1_000;

    private const long FirstLineMilliseconds = 5_000;
    private const long LaterLineMilliseconds = 60_000;

    /// <summary>Waits.</summary>
    /// <param name="connections">What is told of each connection when it is asked for.</param>
    /// <param name="wait">Sleeps for so long at most, or until a connection has ended; says whether a signal to end has come.</param>
    /// <param name="asked">When a signal to end has come, by the clock; null after a failure.</param>
    /// <returns>Whether all have ended; false if it was cut short.</returns>
    public bool Await(Func<IEnumerable<(uint Id, int UnderWay)>> connections, Func<TimeSpan, bool> wait, long? asked)
    {
        long next = clock() + FirstLineMilliseconds;
        long end = asked is null ? clock() + FailureMilliseconds : long.MaxValue;
        bool hears = false;
        while (connections().Any())
        {
            bool signal = wait(TimeSpan.FromMilliseconds(Math.Clamp(end - clock(), 0, RegionSet.LookInterval.TotalMilliseconds)));
            bool cutShort = clock() >= end || (signal && !hears && asked is { } first && clock() - first >= SameSignalMilliseconds);
            if (signal) asked ??= clock();
            if (cutShort && !hears && connections().All(connection => connection.UnderWay == 0))
            {
                // Nothing would be left to the kernel: they only give their clients time to read the last answers, and end by themselves.
                hears = true;
                end = clock() + HearingMilliseconds;
                continue;
            }

            if (!cutShort && clock() < next) continue;
            next = clock() + LaterLineMilliseconds;
            foreach ((uint id, int underWay) in connections())
            {
                if (cutShort) LogCutShort(log, id, underWay);
                else LogWaiting(log, id, underWay);
            }

            if (cutShort) return !connections().Any();
        }

        return true;
    }

    [LoggerMessage(38, LogLevel.Warning, "connection {Connection}: waiting for {UnderWay} request(s) that its disks have not completed; a second SIGTERM ends the process at once")]
    private static partial void LogWaiting(ILogger log, uint connection, int underWay);

    [LoggerMessage(39, LogLevel.Error, "connection {Connection}: ended with {UnderWay} request(s) under way; the next backend waits until they have ended")]
    private static partial void LogCutShort(ILogger log, uint connection, int underWay);
}
