using System.Diagnostics;
using Microsoft.Win32.SafeHandles;
using MuenBlock.IoUring;
using MuenBlock.Protocol.Regions;

namespace MuenBlock.Ublk.Control;

/// <summary>Where control commands go. Made, used and disposed of by one thread.</summary>
internal interface IControlRing : IDisposable
{
    /// <summary>Runs a command and waits for its end, however long that takes.</summary>
    /// <param name="operation">The command, of <see cref="UblkCommands"/>.</param>
    /// <param name="command">What it is given.</param>
    /// <param name="patience">When this is over, the command is cancelled, which ends those that wait for another process.</param>
    /// <param name="result">What the driver answered: a negative errno, or 0 and above.</param>
    /// <returns>False if it was cancelled; the result then says nothing.</returns>
    bool Run(uint operation, in ControlCommand command, TimeSpan patience, out int result);
}

/// <summary>Sends control commands to the driver, through a ring with the 128-byte entries that they need.</summary>
internal sealed class ControlRing : IControlRing
{
    private const ulong CommandEntry = 1;
    private const ulong CancelEntry = 2;

    private readonly SafeFileHandle _file;
    private readonly Ring _ring;

    /// <summary>Makes the ring.</summary>
    /// <param name="file">The control device.</param>
    /// <exception cref="RingException">There is none to be had.</exception>
    public ControlRing(SafeFileHandle file)
    {
        _file = file;

        // One command is under way at a time, and perhaps its cancellation.
        _ring = Ring.Create(new RingOptions { Entries = 2, LargeEntries = true });
    }

    /// <inheritdoc/>
    public bool Run(uint operation, in ControlCommand command, TimeSpan patience, out int result)
    {
        ref SubmissionEntry entry = ref _ring.NextEntry();
        entry.PrepareCommand(PosixFile.Descriptor(_file), operation);
        entry.Command<ControlCommand>() = command;
        entry.UserData = CommandEntry;
        if (TryAwait(patience, out result)) return true;

        // The driver puts commands to one of the ring's kernel workers. Cancelling interrupts that worker where it waits interruptibly.
        ref SubmissionEntry cancel = ref _ring.NextEntry();
        cancel.PrepareCancel(CommandEntry);
        cancel.UserData = CancelEntry;
        _ = TryAwait(Timeout.InfiniteTimeSpan, out result);

        // If it ended by itself at that very moment, it counts.
        return result >= 0;
    }

    /// <inheritdoc/>
    public void Dispose() => _ring.Dispose();

    private bool TryAwait(TimeSpan patience, out int result)
    {
        long start = Stopwatch.GetTimestamp();
        result = 0;
        while (true)
        {
            long nanoseconds = -1;
            if (patience != Timeout.InfiniteTimeSpan) nanoseconds = Math.Max(0, (patience - Stopwatch.GetElapsedTime(start)).Ticks) * TimeSpan.NanosecondsPerTick;
            _ = _ring.Enter(1, nanoseconds);
            bool ended = false;
            while (_ring.TryTake(out Completion completion))
            {
                // A cancellation's own completion, of this command or of the last one, is of no interest.
                if (completion.UserData != CommandEntry) continue;
                result = completion.Result;
                ended = true;
            }

            _ring.Release();
            if (ended) return true;
            if (nanoseconds == 0) return false;
        }
    }
}
