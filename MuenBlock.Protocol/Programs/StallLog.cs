using Microsoft.Extensions.Logging;
using MuenBlock.Protocol.Messages;

namespace MuenBlock.Protocol.Programs;

/// <summary>
/// Logs I/O that takes longer than it should, with all that is known of it: once when that is noticed, and once when it has ended.
/// One thread at a time may use an instance.
/// </summary>
/// <param name="log">Where the lines go.</param>
/// <param name="connection">The connection's id.</param>
/// <param name="peer">Says how things stand between the two ends: epochs and counters of both channels.</param>
public sealed partial class StallLog(ILogger log, uint connection, Func<string> peer)
{
    private const int LinesInMinute = 20; // whatever holds up one I/O may hold up hundreds
    private const int SectorShift = 9;

    private readonly LineBudget _begun = new(log, $"connection {connection}, I/O that takes long", LinesInMinute);
    private readonly LineBudget _ended = new(log, $"connection {connection}, I/O that took long", LinesInMinute);

    /// <summary>An I/O takes long.</summary>
    /// <param name="kind">What was asked for.</param>
    /// <param name="device">On which device of the connection.</param>
    /// <param name="offset">Where on it, in bytes.</param>
    /// <param name="length">How much, in bytes.</param>
    /// <param name="tag">The request's tag.</param>
    /// <param name="milliseconds">How long it has taken.</param>
    /// <param name="awaited">What it waits for, in words.</param>
    public void Begun(RequestKind kind, ushort device, ulong offset, ulong length, uint tag, long milliseconds, string awaited)
    {
        if (_begun.Allows()) LogBegun(log, connection, kind, device, offset >> SectorShift, length, tag, Seconds(milliseconds), awaited, peer());
    }

    /// <summary>An I/O that took long has ended.</summary>
    /// <param name="kind">What was asked for.</param>
    /// <param name="device">On which device of the connection.</param>
    /// <param name="tag">The request's tag.</param>
    /// <param name="milliseconds">How long it took.</param>
    /// <param name="errno">0, or the positive errno that it ended with.</param>
    public void Ended(RequestKind kind, ushort device, uint tag, long milliseconds, int errno)
    {
        if (_ended.Allows()) LogEnded(log, connection, kind, device, tag, Seconds(milliseconds), errno);
    }

    private static double Seconds(long milliseconds) => milliseconds / 1000.0;

    [LoggerMessage(71, LogLevel.Warning, "connection {Connection}: {Kind} of device {Device} takes long: sector {Sector}, {Length} bytes, tag {Tag}, {Seconds} s so far; {Awaited}; {Peer}")]
    private static partial void LogBegun(
        ILogger log, uint connection, RequestKind kind, ushort device, ulong sector, ulong length, uint tag, double seconds, string awaited, string peer);

    [LoggerMessage(72, LogLevel.Warning, "connection {Connection}: {Kind} of device {Device}, tag {Tag}, has ended after {Seconds} s with error {Errno}")]
    private static partial void LogEnded(ILogger log, uint connection, RequestKind kind, ushort device, uint tag, double seconds, int errno);
}
