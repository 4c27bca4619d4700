using System.Globalization;
using System.Text;
using Microsoft.Extensions.Logging;

namespace MuenBlock.Protocol.Programs;

/// <summary>
/// Writes log entries to a stream, one line each: UTC time, level, message. It writes on the caller's thread and at once:
/// nothing is lost when the program is killed, and no logging thread wakes up while nothing is logged.
/// </summary>
public sealed class LineLog : ILoggerProvider, ILogger
{
    private readonly Lock _gate = new();
    private readonly Stream _stream;
    private readonly LogLevel _least;

    private LineLog(Stream stream, LogLevel least)
    {
        _stream = stream;
        _least = least;
    }

    /// <summary>A factory of loggers that write to standard error.</summary>
    /// <param name="least">The least severe level that is written.</param>
    /// <returns>The factory, to be disposed of.</returns>
    public static ILoggerFactory ToStandardError(LogLevel least) => To(Console.OpenStandardError(), least);

    /// <summary>A factory of loggers that write to a stream.</summary>
    /// <param name="stream">The stream, which does not buffer. It is closed with the factory.</param>
    /// <param name="least">The least severe level that is written.</param>
    /// <returns>The factory, to be disposed of.</returns>
    public static ILoggerFactory To(Stream stream, LogLevel least) =>
        LoggerFactory.Create(builder => builder.SetMinimumLevel(least).AddProvider(new LineLog(stream, least)));

    /// <inheritdoc/>
    public ILogger CreateLogger(string categoryName) => this;

    /// <inheritdoc/>
    public bool IsEnabled(LogLevel logLevel) => logLevel >= _least && logLevel != LogLevel.None;

    /// <inheritdoc/>
    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    /// <inheritdoc/>
    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        ArgumentNullException.ThrowIfNull(formatter);
        if (!IsEnabled(logLevel)) return;
        string time = DateTime.UtcNow.ToString("yyyy-MM-ddTHH:mm:ss.fffZ", CultureInfo.InvariantCulture);
        string text = formatter(state, exception);
        string line = exception is null ? $"{time} {Name(logLevel)} {text}\n" : $"{time} {Name(logLevel)} {text}: {exception}\n";
        byte[] bytes = Encoding.UTF8.GetBytes(line);
        lock (_gate)
        {
            try
            {
                _stream.Write(bytes);
            }
            catch (IOException)
            {
                // Its reader is gone, or the disk is full. Serving goes on: a log is not worth an I/O.
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _stream.Dispose();

    private static string Name(LogLevel level) => level switch
    {
        LogLevel.Trace => "trace",
        LogLevel.Debug => "debug",
        LogLevel.Information => "info ",
        LogLevel.Warning => "warn ",
        LogLevel.Error => "error",
        _ => "fatal",
    };
}
