using System.Runtime.InteropServices;

namespace MuenBlock.Protocol.Programs;

/// <summary>
/// Lets a program's main thread sleep until it is asked to end (SIGTERM, SIGINT), instead of being ended by the signal, or until
/// another thread has something to tell it.
/// </summary>
public sealed class TerminationSignals : IDisposable
{
    private readonly ManualResetEventSlim _attention = new();
    private readonly PosixSignalRegistration[] _registrations;
    private volatile bool _received;

    /// <summary>From now on the signals are noted, not obeyed.</summary>
    public TerminationSignals() =>
        _registrations = [.. new[] { PosixSignal.SIGTERM, PosixSignal.SIGINT }.Select(signal => PosixSignalRegistration.Create(signal, Note))];

    /// <summary>Whether a signal has come that no <see cref="Wait"/> has told of yet.</summary>
    public bool Received => _received;

    /// <summary>Ends the wait without a signal.</summary>
    public void Interrupt() => _attention.Set();

    /// <summary>Sleeps until a signal or <see cref="Interrupt"/> comes, or some time has passed; the next call waits for the next one.</summary>
    /// <param name="longest">How long it may take.</param>
    /// <returns>Whether a signal has come since the last call.</returns>
    public bool Wait(TimeSpan longest)
    {
        _ = _attention.Wait(longest);
        _attention.Reset();
        bool received = _received;
        _received = false;
        return received;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (PosixSignalRegistration registration in _registrations) registration.Dispose();
        _attention.Dispose();
    }

    private void Note(PosixSignalContext context)
    {
        context.Cancel = true;
        _received = true;
        _attention.Set();
    }
}
