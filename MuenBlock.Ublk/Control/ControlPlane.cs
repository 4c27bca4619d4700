using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using static Tmds.Linux.LibC;

namespace MuenBlock.Ublk.Control;

/// <summary>
/// The ublk driver's control device. Every command has a deadline, because some kernels never complete one, and the program that
/// waited for it would be stuck as well. Any thread may use it, several at a time: each command has a thread to itself meanwhile.
/// Every method throws a <see cref="ProgramException"/> for a command that fails or is not completed in time.
/// </summary>
internal sealed partial class ControlPlane : IDisposable
{
    /// <summary>The control device.</summary>
    public const string Path = "/dev/ublk-control";

    private static readonly TimeSpan s_deadline = TimeSpan.FromSeconds(10); // what the driver does by itself takes milliseconds
    private static readonly TimeSpan s_longDeadline = TimeSpan.FromSeconds(30); // it waits for I/O: the partition scan, the last writes

    private readonly Func<IControlRing> _openRing;
    private readonly Func<int, bool> _isInUse;
    private readonly SystemFiles _system;
    private readonly ILogger _log;
    private readonly SafeFileHandle? _file;
    private readonly Lock _gate = new();
    private readonly Stack<ControlThread> _idle = [];
    private bool _disposed;

    /// <summary>Makes a control plane and asks what its driver can do.</summary>
    /// <param name="openRing">Makes rings to the driver.</param>
    /// <param name="isInUse">Whether somebody uses a block device, where the driver cannot tell.</param>
    /// <param name="system">The machine's files.</param>
    /// <param name="log">Where to log.</param>
    /// <param name="deadline">How long a command may take; null for the usual times.</param>
    internal ControlPlane(Func<IControlRing> openRing, Func<int, bool> isInUse, SystemFiles system, ILogger log, TimeSpan? deadline = null)
        : this(openRing, isInUse, system, log, deadline, file: null) => Features = ReadFeatures();

    private ControlPlane(Func<IControlRing> openRing, Func<int, bool> isInUse, SystemFiles system, ILogger log, TimeSpan? deadline, SafeFileHandle? file)
    {
        _openRing = openRing;
        _isInUse = isInUse;
        _system = system;
        _log = log;
        _file = file;
        Deadline = deadline ?? s_deadline;
        LongDeadline = deadline ?? s_longDeadline;
    }

    /// <summary>What the driver can do.</summary>
    public UblkFeatures Features { get; private set; }

    private TimeSpan Deadline { get; }

    private TimeSpan LongDeadline { get; }

    /// <summary>Opens the control device.</summary>
    /// <param name="log">Where to log.</param>
    /// <param name="deadline">How long a command may take; null for the usual times.</param>
    /// <exception cref="ProgramException">There is no driver, it may not be used, or it is too old; the message says what to do.</exception>
    public static ControlPlane Open(ILogger log, TimeSpan? deadline = null)
    {
        SafeFileHandle file = PosixFile.TryOpen(Path, O_RDWR, out int error) ?? throw ControlErrors.CannotOpen(Path, error, SystemFiles.Machine);
        var control = new ControlPlane(() => new ControlRing(file), IsInUse, SystemFiles.Machine, log, deadline, file);
        try
        {
            control.Features = control.ReadFeatures();
            return control;
        }
        catch
        {
            control.Dispose();
            throw;
        }
    }

    /// <summary>Adds a device that nobody can use yet (ADD_DEV).</summary>
    /// <param name="wanted">What it shall be; the id <see cref="DeviceInfo.AnyId"/> leaves the choice to the driver.</param>
    /// <returns>
    /// What the driver made of it: it drops flags that it does not know, takes no more queues than there are CPUs, and rounds the
    /// largest I/O down. Whoever depends on any of them compares.
    /// </returns>
    public DeviceInfo Add(in DeviceInfo wanted)
    {
        DeviceInfo info = wanted;
        Run(UblkCommands.AddDevice, (int)wanted.DeviceId, MemoryMarshal.AsBytes(new Span<DeviceInfo>(ref info)), 0, Deadline);
        return info;
    }

    /// <summary>Sets what a device that was not started shall be like (SET_PARAMS).</summary>
    /// <param name="id">The device.</param>
    /// <param name="parameters">What it shall be like; the length is filled in here.</param>
    public void SetParameters(int id, in DeviceParameters parameters)
    {
        DeviceParameters copy = parameters;
        copy.Length = (uint)Marshal.SizeOf<DeviceParameters>();
        Run(UblkCommands.SetParameters, id, MemoryMarshal.AsBytes(new Span<DeviceParameters>(ref copy)), 0, Deadline);
    }

    /// <summary>
    /// Lets I/O from and to a part of this process's memory pass without being copied (REG_BUF). The driver takes hold of its pages until the
    /// device is deleted, also beyond this process's death. To be called before <see cref="Start"/>, as it would hold up I/O.
    /// </summary>
    /// <param name="id">The device, added with <see cref="UblkFeatures.SharedMemoryZeroCopy"/>.</param>
    /// <param name="address">Whole pages.</param>
    /// <param name="length">Bytes, at most 4 GiB.</param>
    /// <returns>The registration's index.</returns>
    public int RegisterMemory(int id, ulong address, ulong length)
    {
        var registration = new SharedBufferRegistration { Address = address, Length = length };
        Span<byte> data = MemoryMarshal.AsBytes(new Span<SharedBufferRegistration>(ref registration));
        int result = Execute(UblkCommands.RegisterBuffer, id, data, 0, 0, LongDeadline);
        Check(UblkCommands.RegisterBuffer, id, result);
        return result;
    }

    /// <summary>What a device is like (GET_PARAMS).</summary>
    /// <param name="id">The device.</param>
    public DeviceParameters GetParameters(int id)
    {
        var parameters = new DeviceParameters { Length = (uint)Marshal.SizeOf<DeviceParameters>() };
        Check(UblkCommands.GetParameters, id, Look(UblkCommands.GetParameters, UblkCommands.GetParameters, id, ref parameters));
        return parameters;
    }

    /// <summary>
    /// Makes a block device usable (START_DEV). Returns when every tag was fetched, so another thread must be serving. An older driver
    /// reads the partition table before (6.12), a newer one goes on reading it afterwards (7.3), which keeps the device open meanwhile.
    /// </summary>
    /// <param name="id">The device.</param>
    /// <param name="pid">The serving process, which opened the character device.</param>
    public void Start(int id, int pid) => Run(UblkCommands.StartDevice, id, [], (ulong)pid, LongDeadline);

    /// <summary>
    /// Ends a block device, whoever uses it (STOP_DEV): I/O under way completes, then every tag is aborted. What is cached is written before, but not of a
    /// device that outlives its server: the driver lets all of its new I/O fail (force_abort). Nothing happens if there is no such device. Where tags come
    /// in batches, the driver does not abort the command that tells of them at the moment at which it is about to complete it (ublk_batch_cancel_cmd): to
    /// stop it again does that, and harms nothing.
    /// </summary>
    /// <param name="id">The device.</param>
    public void Stop(int id)
    {
        int result = Execute(UblkCommands.StopDevice, id, [], 0, 0, LongDeadline);
        if (result != -ENODEV) Check(UblkCommands.StopDevice, id, result);
    }

    /// <summary>
    /// Ends a block device unless somebody uses it (TRY_STOP_DEV). A driver that cannot do this, before 7.0, is told to stop it if
    /// nobody can be seen to use it; then a user who comes at that moment loses it.
    /// </summary>
    /// <param name="id">The device.</param>
    /// <returns>False if somebody uses it.</returns>
    public bool TryStop(int id)
    {
        if (!Features.HasFlag(UblkFeatures.SafeStopDevice))
        {
            if (_isInUse(id)) return false;
            Stop(id);
            return true;
        }

        int result = Execute(UblkCommands.TryStopDevice, id, [], 0, 0, LongDeadline);
        if (result == -EBUSY) return false;
        if (result != -ENODEV) Check(UblkCommands.TryStopDevice, id, result);
        return true;
    }

    /// <summary>
    /// Ends a block device of which its server has seen that nobody uses it, unless somebody has come since, as far as that can be told (<see cref="TryStop"/>).
    /// </summary>
    /// <param name="id">The device.</param>
    /// <param name="patience">How long to wait for users who look at it in passing, such as udev's.</param>
    /// <returns>False if somebody uses it.</returns>
    public bool TryStopUnused(int id, TimeSpan patience)
    {
        long end = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        while (!TryStop(id))
        {
            if (Environment.TickCount64 >= end) return false;
            Thread.Sleep(RetryMilliseconds);
        }

        return true;
    }

    /// <summary>Removes a device and waits until its server has closed it (DEL_DEV). Nothing happens if there is no such device.</summary>
    /// <param name="id">The device.</param>
    public void Delete(int id)
    {
        long end = Environment.TickCount64 + (long)LongDeadline.TotalMilliseconds;
        if (TryGetInfo(id) is not { } device) return;
        int result = Execute(UblkCommands.DeleteDevice, id, [], 0, 0, LongDeadline);
        if (result == -ENODEV) return;
        if (result != -EINTR)
        {
            Check(UblkCommands.DeleteDevice, id, result);
            return;
        }

        // Only the wait was interrupted. The command is not sent again: the id may be free by now, and another device's, which that would stop and delete.
        while (TryGetInfo(id) is { State: DeviceState.Dead } now && now.ServerFlags == device.ServerFlags)
        {
            if (Environment.TickCount64 >= end) throw ControlErrors.TimedOut(UblkCommands.DeleteDevice, id, LongDeadline, _system);
            Thread.Sleep(RetryMilliseconds);
        }
    }

    /// <summary>Removes a device that was stopped, without waiting for those who still have it open (DEL_DEV_ASYNC). Nothing happens if there is no such device.</summary>
    /// <param name="id">The device.</param>
    public void DeleteSoon(int id)
    {
        int result = Execute(UblkCommands.DeleteDeviceAsync, id, [], 0, 0, Deadline);
        if (result != -ENODEV) Check(UblkCommands.DeleteDeviceAsync, id, result);
    }

    /// <summary>Makes a device larger while it is used (UPDATE_SIZE). The driver checks nothing, and would make it smaller as well.</summary>
    /// <param name="id">The device, which has its block device.</param>
    /// <param name="size">Bytes, a multiple of a sector.</param>
    public void Resize(int id, ulong size)
    {
        const int sectorShift = 9;
        Run(UblkCommands.UpdateSize, id, [], size >> sectorShift, Deadline);
    }

    /// <summary>What the driver knows of a device (GET_DEV_INFO).</summary>
    /// <param name="id">The device.</param>
    /// <returns>The device, or null if there is none.</returns>
    public DeviceInfo? TryGetInfo(int id)
    {
        DeviceInfo info = default;
        int result = Look(UblkCommands.GetDeviceInfo, UblkCommands.GetDeviceInfo2, id, ref info);
        if (result == -ENODEV) return null;
        Check(UblkCommands.GetDeviceInfo, id, result);
        return info;
    }

    /// <summary>The CPUs whose requests go to a hardware queue (GET_QUEUE_AFFINITY), in order; some may be offline.</summary>
    /// <param name="id">The device.</param>
    /// <param name="queue">The queue.</param>
    public IReadOnlyList<int> GetQueueAffinity(int id, int queue)
    {
        const int bitsInByte = 8;

        // The driver writes as many bytes as its kernel's largest set has, which may be more than there are CPUs.
        byte[] mask = new byte[ControlThread.MostData];
        Run(UblkCommands.GetQueueAffinity, id, mask, (ulong)queue, Deadline);
        return [.. Enumerable.Range(0, mask.Length * bitsInByte).Where(cpu => (mask[cpu / bitsInByte] & (1 << (cpu % bitsInByte))) != 0)];
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_gate)
        {
            _disposed = true;
            while (_idle.TryPop(out ControlThread? thread)) thread.End();
        }

        // A stuck command keeps the opening, not its number here.
        _file?.Dispose();
    }

    private static bool IsInUse(int id) => DeviceHolders.Find(id).Count > 0 || DeviceHolders.IsClaimed(id);

    private UblkFeatures ReadFeatures()
    {
        ulong features = 0;
        Run(UblkCommands.GetFeatures, -1, MemoryMarshal.AsBytes(new Span<ulong>(ref features)), 0, Deadline);
        return (UblkFeatures)features;
    }

    /// <summary>
    /// Reads something of a device. An unprivileged user's device wants the path of its character device before the data, also from
    /// root, and refuses the command without it.
    /// </summary>
    private int Look<T>(uint command, uint commandWithPath, int id, ref T data)
        where T : unmanaged
    {
        Span<byte> bytes = MemoryMarshal.AsBytes(new Span<T>(ref data));
        int result = Execute(command, id, bytes, 0, 0, Deadline);
        if (result != -EINVAL) return result;
        byte[] path = Encoding.ASCII.GetBytes($"/dev/ublkc{id}");
        byte[] both = [.. path, .. bytes];
        result = Execute(commandWithPath, id, both, 0, (ushort)path.Length, Deadline);
        both.AsSpan(path.Length).CopyTo(bytes);
        return result;
    }

    private void Run(uint command, int id, Span<byte> data, ulong argument, TimeSpan deadline) =>
        Check(command, id, Execute(command, id, data, argument, 0, deadline));

    private void Check(uint command, int id, int result)
    {
        if (result < 0) throw ControlErrors.Describe(command, id, -result, _system);
    }

    private int Execute(uint command, int id, Span<byte> data, ulong argument, ushort pathLength, TimeSpan deadline)
    {
        var payload = new ControlCommand { DeviceId = (uint)id, QueueId = ControlCommand.NoQueue, Argument = argument, PathLength = pathLength };
        long start = Environment.TickCount64;
        while (true)
        {
            TimeSpan left = deadline - TimeSpan.FromMilliseconds(Environment.TickCount64 - start);
            ControlThread thread = Take();
            CommandEnd end = thread.Run(command, payload, data, left, out int result);
            if (end != CommandEnd.Stuck) GiveBack(thread);
            long milliseconds = Environment.TickCount64 - start;
            LogEnd(_log, UblkCommands.Name(command), id, end, result, milliseconds);
            if (end != CommandEnd.Completed) throw ControlErrors.TimedOut(command, id, deadline, _system);

            // These wait interruptibly for fetches, and go on waiting when they are sent again.
            bool waits = command is UblkCommands.StartDevice or UblkCommands.EndUserRecovery;
            if (result != -EINTR || !waits || milliseconds >= deadline.TotalMilliseconds) return result;
        }
    }

    private ControlThread Take()
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (_idle.TryPop(out ControlThread? thread)) return thread;
        }

        return new ControlThread(_openRing, (command, id, result) => LogLate(_log, UblkCommands.Name(command), (int)id, result));
    }

    private void GiveBack(ControlThread thread)
    {
        lock (_gate)
        {
            if (_disposed) thread.End();
            else _idle.Push(thread);
        }
    }

    [LoggerMessage(50, LogLevel.Debug, "{Command} of device {Id}: {End}, {Result}, after {Milliseconds} ms")]
    private static partial void LogEnd(ILogger log, string command, int id, CommandEnd end, int result, long milliseconds);

    [LoggerMessage(51, LogLevel.Warning, "{Command} of device {Id}, which was stuck, has ended after all: {Result}")]
    private static partial void LogLate(ILogger log, string command, int id, int result);
}
