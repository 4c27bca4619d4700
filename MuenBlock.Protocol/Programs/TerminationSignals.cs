using System.Runtime.InteropServices;

namespace MuenBlock.Protocol.Programs;

/// <summary>Lets a program wait for the request to end (SIGTERM, SIGINT) instead of being ended by it.</summary>
public sealed class TerminationSignals : IDisposable
{
    private readonly ManualResetEventSlim _received = new();
    private readonly PosixSignalRegistration[] _registrations;

    /// <summary>From now on the signals are noted, not obeyed.</summary>
    public TerminationSignals() =>
        _registrations = [.. new[] { PosixSignal.SIGTERM, PosixSignal.SIGINT }.Select(signal => PosixSignalRegistration.Create(signal, Note))];

    /// <summary>Whether one has come.</summary>
    public bool Received => _received.IsSet;

    /// <summary>Waits until one comes.</summary>
    public void Wait() => _received.Wait();

    /// <summary>Waits until one comes.</summary>
    /// <param name="longest">How long at most.</param>
    /// <returns>Whether one came.</returns>
    public bool Wait(TimeSpan longest) => _received.Wait(longest);

    /// <summary>Waits for the next one, after one that could not be followed.</summary>
    public void Forget() => _received.Reset();

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (PosixSignalRegistration registration in _registrations) registration.Dispose();
        _received.Dispose();
    }

    private void Note(PosixSignalContext context)
    {
        context.Cancel = true;
        _received.Set();
    }
}
