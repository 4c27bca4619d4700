using Microsoft.Extensions.Logging;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;

namespace MuenBlock.Backend.Serving;

/// <summary>Logs what a client does against the rules, a bounded number of times.</summary>
internal sealed partial class Complaints(ILogger log, uint connection)
{
    private const int LinesInMinute = 10; // enough to see what is wrong

    private readonly LineBudget _budget = new(log, $"connection {connection}, requests that broke a rule", LinesInMinute);

    /// <summary>A request broke a rule and was refused.</summary>
    /// <param name="rule">The rule.</param>
    /// <param name="request">The request, in private memory.</param>
    public void Broken(RequestRule rule, in Request request)
    {
        if (_budget.Allows())
            LogBroken(log, connection, rule, request.Kind, request.Device, request.Tag, request.Length, request.DeviceOffset, request.BufferOffset);
    }

    [LoggerMessage(20, LogLevel.Warning, "connection {Connection}: request refused, rule {Rule}: kind {Kind}, device {Device}, tag {Tag}, length {Length}, device offset {DeviceOffset}, buffer offset {BufferOffset}")]
    private static partial void LogBroken(
        ILogger log, uint connection, RequestRule rule, RequestKind kind, ushort device, uint tag, ulong length, ulong deviceOffset, ulong bufferOffset);
}
