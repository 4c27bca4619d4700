using Microsoft.Win32.SafeHandles;
using MuenBlock.IoUring;
using MuenBlock.Protocol.Regions;
using static Tmds.Linux.LibC;

namespace MuenBlock.Ublk.Control;

/// <summary>
/// Runs control commands, one at a time, on a thread of its own with a ring of 128-byte entries. START_DEV completes only while other
/// threads go on fetching, and a kernel that never completes a command keeps this thread, not the caller's.
/// </summary>
internal sealed class ControlThread
{
    private readonly SafeFileHandle _file;
    private readonly SemaphoreSlim _wanted = new(0);
    private readonly SemaphoreSlim _done = new(0);
    private uint _command;
    private ControlCommand _payload;
    private int _result;
    private Exception? _failure;
    private volatile bool _ending;

    /// <summary>Starts the thread.</summary>
    /// <param name="file">The control device.</param>
    public ControlThread(SafeFileHandle file)
    {
        _file = file;
        new Thread(Serve) { Name = "control", IsBackground = true }.Start();
    }

    /// <summary>Runs a command.</summary>
    /// <param name="command">The command.</param>
    /// <param name="payload">Its payload; what it points to outlives the command.</param>
    /// <param name="deadline">How long it may take.</param>
    /// <returns>Its result, or null if the deadline has passed. Then this object is used up.</returns>
    public int? TryRun(uint command, in ControlCommand payload, TimeSpan deadline)
    {
        _command = command;
        _payload = payload;
        _wanted.Release();
        if (!_done.Wait(deadline)) return null;
        if (_failure is not null) throw _failure;
        return _result;
    }

    /// <summary>Ends the thread, which then disposes of what it used.</summary>
    public void End()
    {
        _ending = true;
        _wanted.Release();
    }

    private void Serve()
    {
        try
        {
            using Ring ring = Ring.Create(new RingOptions { Entries = 4, LargeEntries = true });
            while (true)
            {
                _wanted.Wait();
                if (_ending) return;
                _result = Run(ring);
                _done.Release();
            }
        }
        catch (Exception failure)
        {
            _failure = failure;
            _done.Release();
        }
        finally
        {
            // Nobody else waits: the one command that could be under way has been answered or given up.
            if (_ending)
            {
                _wanted.Dispose();
                _done.Dispose();
            }
        }
    }

    private int Run(Ring ring)
    {
        while (true)
        {
            ref SubmissionEntry entry = ref ring.NextEntry();
            entry.PrepareCommand(PosixFile.Descriptor(_file), _command);
            entry.Command<ControlCommand>() = _payload;
            Completion completion;
            do
            {
                _ = ring.Enter(1);
            }
            while (!ring.TryTake(out completion));
            ring.Release();

            // Commands that wait do so interruptibly, and the runtime's own signals interrupt them.
            if (completion.Result != -EINTR) return completion.Result;
        }
    }
}
