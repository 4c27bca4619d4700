using Microsoft.Extensions.Logging;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;

namespace MuenBlock.Backend.Serving;

/// <summary>Logs what a client does against the rules, and which of its I/O a disk fails, a bounded number of times.</summary>
internal sealed partial class Complaints(ILogger log, uint connection)
{
    private const int LinesInMinute = 10; // enough to see what is wrong

    private readonly LineBudget _budget = new(log, $"connection {connection}, requests that broke a rule", LinesInMinute);
    private readonly LineBudget _failures = new(log, $"connection {connection}, I/O that failed", LinesInMinute);

    /// <summary>A request broke a rule and was refused.</summary>
    /// <param name="rule">The rule.</param>
    /// <param name="request">The request, in private memory.</param>
    public void Broken(RequestRule rule, in Request request)
    {
        if (_budget.Allows())
            LogBroken(log, connection, rule, request.Kind, request.Device, request.Tag, request.Length, request.DeviceOffset, request.BufferOffset);
    }

    /// <summary>A disk has failed an I/O.</summary>
    /// <param name="entry">The I/O: what of it was not done.</param>
    /// <param name="errno">Why, positive.</param>
    public void Failed(in Slot entry, int errno)
    {
        if (_failures.Allows()) LogFailed(log, connection, entry.Kind, entry.Device, entry.Offset, entry.Remaining, errno);
    }

    /// <summary>A device that should be able to discard has turned out not to be.</summary>
    /// <param name="device">The device.</param>
    public void CannotDiscard(ushort device) => LogCannotDiscard(log, connection, device);

    [LoggerMessage(42, LogLevel.Warning, "connection {Connection}: the file system below device {Device} makes no holes: discards are refused from now on, which costs space and nothing else")]
    private static partial void LogCannotDiscard(ILogger log, uint connection, ushort device);

    [LoggerMessage(41, LogLevel.Warning, "connection {Connection}: {Kind} of device {Device} has failed at byte {Offset}, with {Length} bytes to go: error {Errno}")]
    private static partial void LogFailed(ILogger log, uint connection, RequestKind kind, ushort device, ulong offset, ulong length, int errno);

    [LoggerMessage(20, LogLevel.Warning, "connection {Connection}: request refused, rule {Rule}: kind {Kind}, device {Device}, tag {Tag}, length {Length}, device offset {DeviceOffset}, buffer offset {BufferOffset}")]
    private static partial void LogBroken(
        ILogger log, uint connection, RequestRule rule, RequestKind kind, ushort device, uint tag, ulong length, ulong deviceOffset, ulong bufferOffset);
}
