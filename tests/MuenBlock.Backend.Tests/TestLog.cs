using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;

namespace MuenBlock.Backend.Tests;

/// <summary>Keeps the lines that are logged, and may fail whoever logs one of them.</summary>
/// <param name="fatal">The event that fails its thread; 0 for none.</param>
/// <param name="logged">Called for each event, on its thread.</param>
internal sealed class TestLog(int fatal = 0, Action<int>? logged = null) : ILogger
{
    private readonly ConcurrentQueue<string> _lines = [];

    public IReadOnlyList<string> Lines => [.. _lines];

    public bool IsEnabled(LogLevel logLevel) => true;

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        _lines.Enqueue(formatter(state, exception));
        logged?.Invoke(eventId.Id);
        if (eventId.Id == fatal) throw new InvalidOperationException("a test's fault");
    }
}
