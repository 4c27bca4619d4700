using Microsoft.Win32.SafeHandles;
using MuenBlock.IoUring;
using MuenBlock.Protocol.Regions;

namespace MuenBlock.Ublk.Control;

/// <summary>Where control commands go. Made, used and disposed of by one thread.</summary>
internal interface IControlRing : IDisposable
{
    /// <summary>Runs a command and waits for its end.</summary>
    /// <param name="operation">The command, of <see cref="UblkCommands"/>.</param>
    /// <param name="command">What it is given.</param>
    /// <returns>What the driver answered: a negative errno, or 0 and above.</returns>
    int Run(uint operation, in ControlCommand command);
}

/// <summary>Sends control commands to the driver, through a ring with the 128-byte entries that they need.</summary>
internal sealed class ControlRing : IControlRing
{
    private readonly SafeFileHandle _file;
    private readonly Ring _ring;

    /// <summary>Makes the ring.</summary>
    /// <param name="file">The control device.</param>
    /// <exception cref="RingException">There is none to be had.</exception>
    public ControlRing(SafeFileHandle file)
    {
        _file = file;

        // One command is under way at a time.
        _ring = Ring.Create(new RingOptions { Entries = 1, LargeEntries = true });
    }

    /// <inheritdoc/>
    public int Run(uint operation, in ControlCommand command)
    {
        ref SubmissionEntry entry = ref _ring.NextEntry();
        entry.PrepareCommand(PosixFile.Descriptor(_file), operation);
        entry.Command<ControlCommand>() = command;
        Completion completion;
        do
        {
            _ = _ring.Enter(1);
        }
        while (!_ring.TryTake(out completion));
        _ring.Release();
        return completion.Result;
    }

    /// <inheritdoc/>
    public void Dispose() => _ring.Dispose();
}
