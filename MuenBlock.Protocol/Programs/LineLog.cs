using System.Globalization;
using System.Text;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace MuenBlock.Protocol.Programs;

/// <summary>
/// Writes log entries to a file, one line each: UTC time, level, message. It writes on the caller's thread and at once:
/// nothing is lost when the program is killed, and no logging thread wakes up while nothing is logged. But nobody waits for a log: the other end
/// decides when some lines are written, so one that would not be taken at once is dropped and counted, and the next line that is taken says so.
/// </summary>
public sealed class LineLog : ILoggerProvider, ILogger
{
    private const int StandardError = 2;

    private readonly Lock _gate = new();
    private readonly LogOutput _output;
    private readonly LogLevel _least;
    private long _lost;

    private LineLog(LogOutput output, LogLevel least)
    {
        _output = output;
        _least = least;
    }

    /// <summary>A factory of loggers that write to standard error.</summary>
    /// <param name="least">The least severe level that is written.</param>
    /// <returns>The factory, to be disposed of.</returns>
    public static ILoggerFactory ToStandardError(LogLevel least) => To(new SafeFileHandle(StandardError, ownsHandle: false), least);

    /// <summary>A factory of loggers that write to a file.</summary>
    /// <param name="file">The file, open for appending, which stays the caller's.</param>
    /// <param name="least">The least severe level that is written.</param>
    /// <returns>The factory, to be disposed of.</returns>
    public static ILoggerFactory To(SafeFileHandle file, LogLevel least)
    {
        var log = new LineLog(new LogOutput(file), least);

        // A provider that is added as it is would not be disposed of with the factory.
        return LoggerFactory.Create(builder => builder.SetMinimumLevel(least).Services.AddSingleton<ILoggerProvider>(_ => log));
    }

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
        string text = formatter(state, exception);
        DateTime now = DateTime.UtcNow;
        byte[] line = Line(now, logLevel, exception is null ? text : $"{text}: {exception}");
        lock (_gate)
        {
            if (_lost > 0 && _output.TryWrite(Line(now, LogLevel.Warning, $"{_lost} line(s) lost: the reader of the log is slow, or its disk full"))) _lost = 0;
            if (_lost > 0 || !_output.TryWrite(line)) _lost++;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _output.Dispose();

    private byte[] Line(DateTime time, LogLevel level, string text)
    {
        byte[] line = Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{time:yyyy-MM-ddTHH:mm:ss.fffZ} {Name(level)} {text}\n"));
        if (line.Length <= _output.LongestLine) return line;
        int end = _output.LongestLine - 1;
        while ((line[end] & 0xc0) == 0x80) end--; // within a character (RFC 3629)
        line[end] = (byte)'\n';
        return line[..(end + 1)];
    }

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
