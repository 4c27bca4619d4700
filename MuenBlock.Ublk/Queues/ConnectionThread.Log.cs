using Microsoft.Extensions.Logging;
using MuenBlock.Protocol.Messages;

namespace MuenBlock.Ublk.Queues;

/// <summary>What a connection's thread logs. None of it happens per I/O.</summary>
internal sealed partial class ConnectionThread
{
    [LoggerMessage(10, LogLevel.Information, "connection {Connection}: ready; the backend knows {Features}; {Replayed} I/Os were sent again")]
    private static partial void LogReady(ILogger log, uint connection, PeerFeatures features, ulong replayed);

    [LoggerMessage(11, LogLevel.Error, "connection {Connection}: the backend is refused, rule {Rule}; I/O fails until it keeps to it")]
    private static partial void LogRefused(ILogger log, uint connection, string rule);

    [LoggerMessage(47, LogLevel.Error, "connection {Connection}: the backend is refused, rule {Rule}; nothing is written, and I/O waits for a backend that keeps to it (to go on with this one: 'muenblock-ublk upgrade ID --other-disk')")]
    private static partial void LogOtherDisk(ILogger log, uint connection, string rule);

    [LoggerMessage(48, LogLevel.Error, "connection {Connection}: the size is refused, rule {Rule}; the block device stays as it is, and I/O behind the end of the disk fails")]
    private static partial void LogSizeRefused(ILogger log, uint connection, string rule);

    [LoggerMessage(12, LogLevel.Warning, "connection {Connection}: no answer to {Question} of device {Device}; beginning anew")]
    private static partial void LogNoAnswer(ILogger log, uint connection, RequestKind question, ushort device);

    [LoggerMessage(13, LogLevel.Warning, "connection {Connection}: dropped a response that nobody asked for, rule ResponsesAnswerRequests: kind {Kind}, device {Device}, tag {Tag}")]
    private static partial void LogStray(ILogger log, uint connection, RequestKind kind, ushort device, uint tag);

    [LoggerMessage(14, LogLevel.Warning, "connection {Connection}: the backend is gone; {Count} I/Os wait for its return")]
    private static partial void LogServerLeft(ILogger log, uint connection, int count);

    [LoggerMessage(15, LogLevel.Warning, "connection {Connection}: the response channel is not what was agreed, rule ChannelsAreAsAgreed: {Header}; waiting for another backend")]
    private static partial void LogIncompatible(ILogger log, uint connection, string header);

    [LoggerMessage(16, LogLevel.Warning, "connection {Connection}: session dropped, rule ResponsesFitTheChannel: the backend wrote more than the channel holds; beginning anew")]
    private static partial void LogOverrun(ILogger log, uint connection);

    [LoggerMessage(17, LogLevel.Error, "connection {Connection}: the driver refused a tag of /dev/ublkb{Id} ({Reason}): I/O that it has waits until another process serves the device ('muenblock-ublk upgrade ID')")]
    private static partial void LogFetchFailed(ILogger log, uint connection, int id, string reason);

    [LoggerMessage(18, LogLevel.Information, "connection {Connection}: ended after {Ios} I/Os, {Copies} of them copied, {Shared} from or to applications' memory; {Replayed} were sent again, {Strays} stray responses were dropped; meanwhile {Bytes} bytes were allocated and {Collections} collections ran")]
    private static partial void LogEnded(ILogger log, uint connection, ulong ios, ulong copies, ulong shared, ulong replayed, ulong strays, long bytes, int collections);

    [LoggerMessage(29, LogLevel.Information, "connection {Connection}: per I/O: {Counts}")]
    private static partial void LogPath(ILogger log, uint connection, string counts);

    [LoggerMessage(23, LogLevel.Information, "connection {Connection}: {Waiting}; {Waking}")]
    private static partial void LogSignals(ILogger log, uint connection, string waiting, string waking);

    [LoggerMessage(21, LogLevel.Error, "connection {Connection}: dropped, rule {Rule}: region {Region} was truncated while it was in use, or its file system is full; I/O fails until the same file has its size again")]
    private static partial void LogLost(ILogger log, uint connection, string rule, string? region);

    [LoggerMessage(22, LogLevel.Information, "connection {Connection}: the regions are whole again; waiting for the backend")]
    private static partial void LogRestored(ILogger log, uint connection);

    [LoggerMessage(24, LogLevel.Warning, "connection {Connection}: session dropped, rule OnlyItsWriterChangesAChannel: the request channel's header was overwritten; it begins anew")]
    private static partial void LogOverwritten(ILogger log, uint connection);

    [LoggerMessage(27, LogLevel.Error, "connection {Connection}: I/O waits, rule {Rule}: let the backend export the same disks on all connections that are joined")]
    private static partial void LogDisagrees(ILogger log, uint connection, string rule);

    [LoggerMessage(25, LogLevel.Information, "connection {Connection}: its thread runs on CPU {Cpus}")]
    private static partial void LogPinned(ILogger log, uint connection, string cpus);

    [LoggerMessage(26, LogLevel.Warning, "connection {Connection}: its thread cannot be kept on CPU {Cpus}, and runs on any")]
    private static partial void LogNotPinned(ILogger log, uint connection, string cpus);

    [LoggerMessage(19, LogLevel.Error, "connection {Connection}: ended by a failure")]
    private static partial void LogFailed(ILogger log, uint connection, Exception failure);

    [LoggerMessage(20, LogLevel.Error, "connection {Connection}: no answer for {Seconds} s: {Failed} I/Os failed (--io-timeout), and all others will until the backend has answered a Reset; {Peer}")]
    private static partial void LogLost(ILogger log, uint connection, double seconds, int failed, string peer);
}
