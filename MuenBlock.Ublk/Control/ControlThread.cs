using System.Runtime.InteropServices;
using MuenBlock.Protocol.Programs;

namespace MuenBlock.Ublk.Control;

/// <summary>How a control command ended.</summary>
internal enum CommandEnd
{
    /// <summary>The driver has answered.</summary>
    Completed,

    /// <summary>It took too long and was cancelled.</summary>
    Cancelled,

    /// <summary>It took too long and could not be cancelled either.</summary>
    Stuck,
}

/// <summary>
/// Runs control commands, one at a time, on a thread of its own. START_DEV completes only while other threads go on fetching, and
/// some kernels never complete a command: that keeps this thread, not the caller's. What a command reads and writes lies in memory
/// of this thread, so that a stuck command does no harm when it completes after all.
/// </summary>
internal sealed unsafe class ControlThread
{
    /// <summary>The most bytes that a command reads or writes: a set of the most CPUs that a kernel is built for (8192, MAXSMP).</summary>
    public const int MostData = 1024;

    // A command that can be cancelled ends at once; this is for a busy machine.
    private static readonly TimeSpan s_cancelling = TimeSpan.FromSeconds(1);

    private readonly Func<IControlRing> _openRing;
    private readonly Action<uint, uint, int> _late;
    private readonly byte* _data;

    // Held for every look at what follows, and waited on and pulsed at every change of the phase.
    private readonly object _gate = new();
    private Phase _phase;
    private uint _operation;
    private ControlCommand _command;
    private TimeSpan _patience;
    private bool _completed;
    private int _result;
    private Exception? _failure;

    /// <summary>Starts the thread.</summary>
    /// <param name="openRing">Makes its ring; called on the thread.</param>
    /// <param name="late">Told of a stuck command that ends after all: the command, the device, the result.</param>
    /// <exception cref="ProgramException">The thread cannot be started.</exception>
    public ControlThread(Func<IControlRing> openRing, Action<uint, uint, int> late)
    {
        _openRing = openRing;
        _late = late;
        _data = (byte*)NativeMemory.AllocZeroed(MostData);
        Threads.Start(new Thread(Serve) { Name = "control", IsBackground = true });
    }

    private enum Phase
    {
        Idle,
        Busy,
        Done,
        Stuck,
        Ending,
    }

    /// <summary>Runs a command.</summary>
    /// <param name="operation">The command.</param>
    /// <param name="command">What it is given; the address and the length are filled in here.</param>
    /// <param name="data">What the command reads and writes, at most <see cref="MostData"/> bytes.</param>
    /// <param name="deadline">How long it may take.</param>
    /// <param name="result">What the driver answered, if the command completed: a negative errno, or 0 and above.</param>
    /// <returns>How it ended. After a stuck one this object is used up, and its thread ends when the command does.</returns>
    /// <exception cref="ProgramException">There is no ring to be had; this object is used up as well.</exception>
    public CommandEnd Run(uint operation, in ControlCommand command, Span<byte> data, TimeSpan deadline, out int result)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(data.Length, MostData, nameof(data));
        long end = Environment.TickCount64 + (long)(deadline + s_cancelling).TotalMilliseconds;
        lock (_gate)
        {
            if (_phase != Phase.Idle) throw new InvalidOperationException($"a control thread takes one command at a time, and this one is {_phase}");
            data.CopyTo(new Span<byte>(_data, MostData));
            _command = command;
            _command.Address = data.IsEmpty ? 0 : (ulong)_data;
            _command.Length = (ushort)data.Length;
            _operation = operation;
            _patience = deadline;
            Change(Phase.Busy);
            while (_phase == Phase.Busy)
            {
                long left = end - Environment.TickCount64;
                if (left <= 0) Change(Phase.Stuck);
                else _ = Monitor.Wait(_gate, (int)Math.Min(left, int.MaxValue));
            }

            result = _result;
            if (_phase == Phase.Stuck) return CommandEnd.Stuck;
            if (_failure is not null)
                throw _failure is ProgramException ? _failure : new ProgramException(ExitCode.Environment, _failure.Message, _failure);
            new ReadOnlySpan<byte>(_data, data.Length).CopyTo(data);
            Change(Phase.Idle);
            return _completed ? CommandEnd.Completed : CommandEnd.Cancelled;
        }
    }

    /// <summary>Lets the thread end. It has no command under way.</summary>
    public void End()
    {
        lock (_gate)
        {
            if (_phase == Phase.Idle) Change(Phase.Ending);
        }
    }

    private void Serve()
    {
        try
        {
            using IControlRing ring = _openRing();
            while (Next())
            {
                // Nobody else touches the command meanwhile.
                bool completed = ring.Run(_operation, _command, _patience, out int result);
                if (!Finish(completed, result, null)) return;
            }
        }
        catch (Exception failure)
        {
            // Whatever it was belongs to the caller, of this command or of the first one.
            if (Next()) _ = Finish(completed: false, 0, failure);
        }
        finally
        {
            NativeMemory.Free(_data);
        }
    }

    /// <summary>Waits for a command.</summary>
    /// <returns>False if there will be none.</returns>
    private bool Next()
    {
        lock (_gate)
        {
            while (_phase is Phase.Idle or Phase.Done) _ = Monitor.Wait(_gate);
            return _phase != Phase.Ending;
        }
    }

    /// <summary>Hands a command's end to the caller.</summary>
    /// <returns>False if the caller has gone.</returns>
    private bool Finish(bool completed, int result, Exception? failure)
    {
        lock (_gate)
        {
            _completed = completed;
            _result = result;
            _failure = failure;
            if (_phase == Phase.Busy)
            {
                Change(Phase.Done);
                return true;
            }
        }

        if (failure is null) _late(_operation, _command.DeviceId, result);
        return false;
    }

    private void Change(Phase phase)
    {
        _phase = phase;
        Monitor.PulseAll(_gate);
    }
}
