using System.Runtime.InteropServices;
using MuenBlock.Protocol.Programs;

namespace MuenBlock.Ublk.Control;

/// <summary>
/// Runs control commands, one at a time, on a thread of its own. START_DEV completes only while other threads go on fetching, and
/// some kernels never complete a command: that keeps this thread, not the caller's. What a command reads and writes lies in memory
/// of this thread, so that a command which was given up does no harm when it completes after all.
/// </summary>
internal sealed unsafe class ControlThread
{
    /// <summary>The most bytes that a command reads or writes: <see cref="DeviceParameters"/> behind a device's path, with room to spare.</summary>
    public const int MostData = 256;

    private readonly Func<IControlRing> _openRing;
    private readonly Action<uint, uint, int> _late;
    private readonly byte* _data;

    // Held for every look at what follows, and waited on and pulsed at every change of the phase.
    private readonly object _gate = new();
    private Phase _phase;
    private uint _operation;
    private ControlCommand _command;
    private int _result;
    private Exception? _failure;

    /// <summary>Starts the thread.</summary>
    /// <param name="openRing">Makes its ring; called on the thread.</param>
    /// <param name="late">Told of a command that completes after it was given up: the command, the device, the result.</param>
    public ControlThread(Func<IControlRing> openRing, Action<uint, uint, int> late)
    {
        _openRing = openRing;
        _late = late;
        _data = (byte*)NativeMemory.AllocZeroed(MostData);
        new Thread(Serve) { Name = "control", IsBackground = true }.Start();
    }

    private enum Phase
    {
        Idle,
        Busy,
        Done,
        Abandoned,
        Ending,
    }

    /// <summary>Runs a command.</summary>
    /// <param name="operation">The command.</param>
    /// <param name="command">What it is given; the address and the length are filled in here.</param>
    /// <param name="data">What the command reads and writes, at most <see cref="MostData"/> bytes.</param>
    /// <param name="deadline">How long it may take.</param>
    /// <param name="result">What the driver answered: a negative errno, or 0 and above.</param>
    /// <returns>False if the deadline has passed. Then this object is used up, and its thread ends when the command does.</returns>
    /// <exception cref="ProgramException">There is no ring to be had; this object is used up as well.</exception>
    public bool TryRun(uint operation, in ControlCommand command, Span<byte> data, TimeSpan deadline, out int result)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(data.Length, MostData, nameof(data));
        long end = Environment.TickCount64 + (long)deadline.TotalMilliseconds;
        lock (_gate)
        {
            result = 0;
            if (_phase != Phase.Idle) throw new InvalidOperationException($"a control thread takes one command at a time, and this one is {_phase}");
            data.CopyTo(new Span<byte>(_data, MostData));
            _command = command;
            _command.Address = data.IsEmpty ? 0 : (ulong)_data;
            _command.Length = (ushort)data.Length;
            _operation = operation;
            Change(Phase.Busy);
            while (_phase == Phase.Busy)
            {
                long left = end - Environment.TickCount64;
                if (left > 0)
                {
                    _ = Monitor.Wait(_gate, (int)Math.Min(left, int.MaxValue));
                    continue;
                }

                Change(Phase.Abandoned);
                return false;
            }

            if (_failure is not null)
                throw _failure is ProgramException ? _failure : new ProgramException(ExitCode.Environment, _failure.Message, _failure);
            new ReadOnlySpan<byte>(_data, data.Length).CopyTo(data);
            result = _result;
            Change(Phase.Idle);
            return true;
        }
    }

    /// <summary>Lets the thread end, now or when its command is complete.</summary>
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
            while (true)
            {
                lock (_gate)
                {
                    while (_phase is Phase.Idle or Phase.Done) _ = Monitor.Wait(_gate);
                    if (_phase == Phase.Ending) return;
                }

                // While the phase is Busy or Abandoned, nobody else touches the command.
                if (!Complete(ring.Run(_operation, _command), null)) return;
            }
        }
        catch (Exception failure)
        {
            // Whatever it was belongs to the caller, of this command or of the next.
            lock (_gate)
            {
                while (_phase == Phase.Idle) _ = Monitor.Wait(_gate);
            }

            _ = Complete(0, failure);
        }
        finally
        {
            NativeMemory.Free(_data);
        }
    }

    private bool Complete(int result, Exception? failure)
    {
        lock (_gate)
        {
            _result = result;
            _failure = failure;
            if (_phase == Phase.Busy)
            {
                Change(Phase.Done);
                return true;
            }
        }

        if (_phase == Phase.Abandoned && failure is null) _late(_operation, _command.DeviceId, result);
        return false;
    }

    private void Change(Phase phase)
    {
        _phase = phase;
        Monitor.PulseAll(_gate);
    }
}
