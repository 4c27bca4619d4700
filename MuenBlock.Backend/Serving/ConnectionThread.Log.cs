using Microsoft.Extensions.Logging;

namespace MuenBlock.Backend.Serving;

/// <summary>What a connection's thread logs. None of it happens per I/O.</summary>
internal sealed partial class ConnectionThread
{
    [LoggerMessage(10, LogLevel.Information, "connection {Connection}: serving {Devices} device(s)")]
    private static partial void LogServing(ILogger log, uint connection, int devices);

    [LoggerMessage(11, LogLevel.Information, "connection {Connection}: stopped after {Requests} requests")]
    private static partial void LogStopped(ILogger log, uint connection, ulong requests);

    [LoggerMessage(12, LogLevel.Information, "connection {Connection}: a client began a session")]
    private static partial void LogClient(ILogger log, uint connection);

    [LoggerMessage(13, LogLevel.Information, "connection {Connection}: the client left after {Requests} requests; meanwhile {Bytes} bytes were allocated and {Collections} collections ran")]
    private static partial void LogClientLeft(ILogger log, uint connection, ulong requests, long bytes, int collections);

    [LoggerMessage(25, LogLevel.Information, "connection {Connection}: per request of that client: {Counts}")]
    private static partial void LogPath(ILogger log, uint connection, string counts);

    [LoggerMessage(14, LogLevel.Warning, "connection {Connection}: the request channel is not what was agreed, rule ChannelsAreAsAgreed: {Header}; waiting for another client")]
    private static partial void LogIncompatible(ILogger log, uint connection, string header);

    [LoggerMessage(15, LogLevel.Warning, "connection {Connection}: session dropped, rule RequestsInFlightFitTheChannel: the client wrote more than {Elements} requests ahead")]
    private static partial void LogOverrun(ILogger log, uint connection, uint elements);

    [LoggerMessage(16, LogLevel.Warning, "connection {Connection}: the memory for I/O cannot be registered with io_uring ({Reason}); every I/O pins its pages anew: {Remedy}")]
    private static partial void LogNotRegistered(ILogger log, uint connection, string reason, string remedy);

    [LoggerMessage(35, LogLevel.Information, "connection {Connection}: the memory for I/O is registered with io_uring again")]
    private static partial void LogRegistered(ILogger log, uint connection);

    [LoggerMessage(18, LogLevel.Information, "connection {Connection}: the pages of buffer {Name} can be pinned: disks read and write the buffer itself")]
    private static partial void LogDirect(ILogger log, uint connection, string name);

    [LoggerMessage(19, LogLevel.Information, "connection {Connection}: the pages of buffer {Name} cannot be pinned: data is copied through a bounce buffer of {Bytes} bytes")]
    private static partial void LogBounce(ILogger log, uint connection, string name, ulong bytes);

    [LoggerMessage(22, LogLevel.Information, "connection {Connection}: {Waiting}; {Waking}")]
    private static partial void LogSignals(ILogger log, uint connection, string waiting, string waking);

    [LoggerMessage(21, LogLevel.Error, "connection {Connection}: dropped, rule {Rule}: region {Region} was truncated while it was in use, or its file system is full; it is served again when the same file has its size again")]
    private static partial void LogLost(ILogger log, uint connection, string rule, string? region);

    [LoggerMessage(23, LogLevel.Warning, "connection {Connection}: session dropped, rule OnlyItsWriterChangesAChannel: the response channel's header was overwritten; it begins anew")]
    private static partial void LogOverwritten(ILogger log, uint connection);

    [LoggerMessage(24, LogLevel.Information, "connection {Connection}: device {Device}, {Path}, has grown from {Before} to {Size} bytes")]
    private static partial void LogGrown(ILogger log, uint connection, int device, string path, ulong before, ulong size);

    [LoggerMessage(27, LogLevel.Error, "connection {Connection}: device {Device}, {Path}, has shrunk from {Before} to {Size} bytes: what lay behind is lost, I/O there fails, and a client that begins anew will refuse it: give it its size back")]
    private static partial void LogShrunk(ILogger log, uint connection, int device, string path, ulong before, ulong size);

    [LoggerMessage(17, LogLevel.Error, "connection {Connection}: ended by a failure: {Failure}")]
    private static partial void LogFailed(ILogger log, uint connection, string failure);

    [LoggerMessage(37, LogLevel.Error, "connection {Connection}: device {Device}, {Path}, has vanished or has no block any more, and its I/O fails: a disk that was removed is served again after a restart of the backend")]
    private static partial void LogVanished(ILogger log, uint connection, int device, string path);

    [LoggerMessage(28, LogLevel.Information, "connection {Connection}: its thread runs on CPU {Cpus}")]
    private static partial void LogPinned(ILogger log, uint connection, string cpus);

    [LoggerMessage(26, LogLevel.Warning, "connection {Connection}: its thread cannot be kept on CPU {Cpus}, and runs on any")]
    private static partial void LogNotPinned(ILogger log, uint connection, string cpus);
}
