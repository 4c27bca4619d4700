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

    // Of RingDisks, PeerSignal, Heartbeat and WakeUp; a Nop of StartWorker.
    private static readonly Operation[] s_operations =
    [
        Operation.ReadFixed, Operation.WriteFixed, Operation.Read, Operation.Write, Operation.Sync, Operation.Allocate, Operation.Command, Operation.PollAdd,
        Operation.FutexWait, Operation.FutexWake, Operation.Timeout, Operation.Nop,
    ];

    /// <summary>Creates the ring that a connection's thread sleeps in. The calling thread becomes its owner.</summary>
    /// <param name="submissionThreadIdle"><see cref="RingOptions.SubmissionThreadIdle"/>.</param>
    /// <returns>The ring.</returns>
    /// <exception cref="RingException">It cannot be had.</exception>
    public static Ring Create(TimeSpan? submissionThreadIdle) =>
        Ring.Create(new RingOptions { Entries = Entries, CompletionEntries = Completions, SubmissionThreadIdle = submissionThreadIdle, Operations = s_operations });

    /// <summary>
    /// Lets the kernel start the thread that does for a ring what cannot be done at once: flushes, discards, and writes that need space. It keeps
    /// the last such thread for as long as the thread lives that submits to the ring (io_wq_worker, io_uring/io-wq.c), so from then on a limit on threads
    /// leaves none of that undone, with two exceptions, where it waits until there is room (<see cref="ServingMachine{TDisks,TResponses}"/>): before
    /// Linux 6.4 each NUMA node has threads of its own, and this starts that of the present node; and the last thread ends too once it idles on a CPU
    /// that the process may no longer use. To be called when nothing else is under way, and by the user that the program stays: the limit is the user's.
    /// </summary>
    /// <param name="ring">A ring of a connection, on its thread. Each is to be asked: with SQPOLL they have different threads that submit.</param>
    /// <exception cref="RingException">There is no room for that thread.</exception>
    public static void StartWorker(Ring ring)
    {
        ref SubmissionEntry entry = ref ring.NextEntry();
        entry.PrepareNop();
        entry.Flags = EntryFlags.Async;
        Completion completion;
        do
        {
            _ = ring.Enter(1);
        }
        while (!ring.TryTake(out completion));
        ring.Release();
        if (completion.Result < 0)
            throw new RingException($"the kernel cannot start a thread for flushes and discards: {RingException.ThreadRemedy}", -completion.Result);
    }

    /// <summary>Creates a ring for disks that are polled. The calling thread becomes its owner.</summary>
    /// <returns>The ring.</returns>
    /// <exception cref="RingException">It cannot be had.</exception>
    public static Ring CreatePolled() =>
        Ring.Create(new RingOptions { Entries = Entries, CompletionEntries = Completions, PollsDevices = true, Operations = s_operations });
}
