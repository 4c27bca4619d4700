using MuenBlock.IoUring;

namespace MuenBlock.Backend.Serving;

/// <summary>
/// The rings of a connection. They take what serving needs and nothing else: a filter of system calls does not see what a ring is asked for, and with a
/// submission thread it would be done with the rights of the program's start. So whoever takes this program over cannot open, connect or rename by a ring.
/// </summary>
internal static class ServingRing
{
    private const uint Entries = 256; // several batches; more are submitted in between
    private const uint Completions = 4096;

    // Of RingDisks, PeerSignal, Heartbeat and WakeUp.
    private static readonly Operation[] s_operations =
    [
        Operation.ReadFixed, Operation.WriteFixed, Operation.Read, Operation.Write, Operation.Sync, Operation.Allocate, Operation.Command, Operation.PollAdd,
        Operation.FutexWait, Operation.FutexWake, Operation.Timeout,
    ];

    /// <summary>Creates the ring that a connection's thread sleeps in. The calling thread becomes its owner.</summary>
    /// <param name="submissionThreadIdle"><see cref="RingOptions.SubmissionThreadIdle"/>.</param>
    /// <returns>The ring.</returns>
    /// <exception cref="RingException">It cannot be had.</exception>
    public static Ring Create(TimeSpan? submissionThreadIdle) =>
        Ring.Create(new RingOptions { Entries = Entries, CompletionEntries = Completions, SubmissionThreadIdle = submissionThreadIdle, Operations = s_operations });

    /// <summary>Creates a ring for disks that are polled. The calling thread becomes its owner.</summary>
    /// <returns>The ring.</returns>
    /// <exception cref="RingException">It cannot be had.</exception>
    public static Ring CreatePolled() =>
        Ring.Create(new RingOptions { Entries = Entries, CompletionEntries = Completions, PollsDevices = true, Operations = s_operations });
}
