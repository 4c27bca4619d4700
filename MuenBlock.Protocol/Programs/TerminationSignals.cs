using System.Runtime.InteropServices;

namespace MuenBlock.Protocol.Programs;

/// <summary>
/// Lets a program's main thread sleep until it is asked to end (SIGTERM, SIGINT), instead of being ended by the signal, or until
/// another thread has something to tell it. SIGUSR1 asks it to look at what it looks at now and then.
/// </summary>
public sealed class TerminationSignals : IDisposable
{
    private const PosixSignal LookNow = (PosixSignal)10; // SIGUSR1, on x86-64 (asm/signal.h)

    private readonly ManualResetEventSlim _attention = new();
    private readonly PosixSignalRegistration[] _registrations;
    private bool _received;
    private bool _askedToLook;

    /// <summary>From now on the signals are noted, not obeyed.</summary>
    public TerminationSignals() =>
        _registrations = [.. new[] { PosixSignal.SIGTERM, PosixSignal.SIGINT, LookNow }.Select(signal => PosixSignalRegistration.Create(signal, Note))];

    /// <summary>Whether a signal has come that no <see cref="Wait"/> has told of yet.</summary>
    public bool Received => Volatile.Read(ref _received);

    /// <summary>Whether SIGUSR1 has come since the last call. It ends a <see cref="Wait"/>.</summary>
    public bool TakeLookNow() => Interlocked.Exchange(ref _askedToLook, false);

    /// <summary>Ends the wait without a signal.</summary>
    public void Interrupt() => _attention.Set();

    /// <summary>Sleeps until a signal or <see cref="Interrupt"/> comes, or some time has passed; the next call waits for the next one.</summary>
    /// <param name="longest">How long it may take.</param>
    /// <returns>Whether a signal has come since the last call.</returns>
    public bool Wait(TimeSpan longest)
    {
        _ = _attention.Wait(longest);

        // Before the look: a signal that comes in between is told of now, or ends the next wait.
        _attention.Reset();

        // Looking and forgetting are one step, as a signal may come on its thread between two.
        return Interlocked.Exchange(ref _received, false);
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

        // Before the wait is ended, and pairs with the exchange in Wait, which comes after it has ended: whoever wakes up finds the signal.
        if (context.Signal == LookNow) Volatile.Write(ref _askedToLook, true);
        else Volatile.Write(ref _received, true);
        _attention.Set();
    }
}
