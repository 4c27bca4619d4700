using Microsoft.Extensions.Logging;
using MuenBlock.Protocol.Messages;

namespace MuenBlock.Backend.Serving;

/// <summary>
/// Logs what a client does against the rules: one line each, but a bounded number in a period, as the client decides how many there are.
/// </summary>
internal sealed partial class Complaints(ILogger log, uint connection)
{
    private const int MostInPeriod = 10;
    private const long PeriodMilliseconds = 60_000;

    private long _periodStart = long.MinValue / 2;
    private int _inPeriod;

    /// <summary>Requests that broke a rule so far.</summary>
    public ulong Count { get; private set; }

    /// <summary>A request broke a rule and was refused.</summary>
    /// <param name="rule">The rule.</param>
    /// <param name="request">The request, in private memory.</param>
    public void Broken(RequestRule rule, in Request request)
    {
        Count++;
        long now = Environment.TickCount64;
        if (now - _periodStart > PeriodMilliseconds)
        {
            _periodStart = now;
            _inPeriod = 0;
        }

        if (_inPeriod++ < MostInPeriod)
            LogBroken(log, connection, rule, request.Kind, request.Device, request.Tag, request.Length, request.DeviceOffset, request.BufferOffset);
        else if (_inPeriod == MostInPeriod + 1) LogMore(log, connection);
    }

    [LoggerMessage(20, LogLevel.Warning, "connection {Connection}: request refused, rule {Rule}: kind {Kind}, device {Device}, tag {Tag}, length {Length}, device offset {DeviceOffset}, buffer offset {BufferOffset}")]
    private static partial void LogBroken(
        ILogger log, uint connection, RequestRule rule, RequestKind kind, ushort device, uint tag, ulong length, ulong deviceOffset, ulong bufferOffset);

    [LoggerMessage(21, LogLevel.Warning, "connection {Connection}: more requests broke rules; they are refused without a line for the rest of the minute")]
    private static partial void LogMore(ILogger log, uint connection);
}
