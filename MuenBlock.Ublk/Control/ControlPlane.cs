using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using static Tmds.Linux.LibC;

namespace MuenBlock.Ublk.Control;

/// <summary>
/// The ublk driver's control device. Every command has a deadline: some kernels never complete one, and a program that waited for
/// it would be stuck as well. Any thread may use it, one at a time.
/// </summary>
internal sealed unsafe class ControlPlane : IDisposable
{
    /// <summary>The control device.</summary>
    public const string Path = "/dev/ublk-control";

    private static readonly TimeSpan s_deadline = TimeSpan.FromSeconds(10); // control commands take milliseconds
    private static readonly TimeSpan s_longDeadline = TimeSpan.FromSeconds(60); // those that wait for I/O: partition scan, drain

    private readonly SafeFileHandle _file;
    private ControlThread _thread;

    private ControlPlane(SafeFileHandle file)
    {
        _file = file;
        _thread = new ControlThread(file);
    }

    /// <summary>What the driver can do.</summary>
    public UblkFeatures Features { get; private set; }

    /// <summary>Opens the control device.</summary>
    /// <param name="log">Where to say what is odd.</param>
    /// <exception cref="ProgramException">There is no driver, or it may not be used; the message says what to do.</exception>
    public static ControlPlane Open(ILogger log)
    {
        SafeFileHandle file = PosixFile.TryOpen(Path, O_RDWR, out int error) ?? throw CannotOpen(error);
        var control = new ControlPlane(file);
        try
        {
            UblkFeatures features;
            control.Run(UblkCommands.GetFeatures, 0, &features, sizeof(UblkFeatures), 0, s_deadline);
            control.Features = features;
            return control;
        }
        catch
        {
            control.Dispose();
            throw;
        }
    }

    /// <summary>Adds a device that nobody can use yet.</summary>
    /// <param name="wanted">What it shall be; an id of 0xffffffff leaves the choice to the driver.</param>
    /// <returns>What the driver made of it.</returns>
    public DeviceInfo Add(in DeviceInfo wanted)
    {
        DeviceInfo info = wanted;
        Run(UblkCommands.AddDevice, wanted.DeviceId, &info, sizeof(DeviceInfo), 0, s_deadline);
        return info;
    }

    /// <summary>Sets what the block device shall be like; before its start.</summary>
    public void SetParameters(int id, in DeviceParameters parameters)
    {
        DeviceParameters copy = parameters;
        copy.Length = (uint)sizeof(DeviceParameters);
        Run(UblkCommands.SetParameters, (uint)id, &copy, sizeof(DeviceParameters), 0, s_deadline);
    }

    /// <summary>What the block device is like.</summary>
    public DeviceParameters GetParameters(int id)
    {
        var parameters = new DeviceParameters { Length = (uint)sizeof(DeviceParameters) };
        Run(UblkCommands.GetParameters, (uint)id, &parameters, sizeof(DeviceParameters), 0, s_deadline);
        return parameters;
    }

    /// <summary>Makes the block device usable. Its tags are fetched, and partition scanning I/O is served, meanwhile.</summary>
    public void Start(int id, int pid) => Run(UblkCommands.StartDevice, (uint)id, null, 0, (ulong)pid, s_longDeadline);

    /// <summary>Ends the block device: I/O under way completes, then every tag is aborted.</summary>
    public void Stop(int id) => Run(UblkCommands.StopDevice, (uint)id, null, 0, 0, s_longDeadline);

    /// <summary>Ends the block device unless somebody has it open.</summary>
    /// <returns>False if somebody has; null if the driver cannot do this (before 7.0).</returns>
    public bool? TryStop(int id)
    {
        if ((Features & UblkFeatures.SafeStopDevice) == 0) return null;
        int result = Try(UblkCommands.TryStopDevice, (uint)id, null, 0, 0, s_longDeadline);
        if (result == -EBUSY) return false;
        return result >= 0 ? true : throw ControlErrors.Describe(UblkCommands.TryStopDevice, id, -result);
    }

    /// <summary>Removes a device that was stopped; waits until its server has closed it.</summary>
    public void Delete(int id) => Run(UblkCommands.DeleteDevice, (uint)id, null, 0, 0, s_longDeadline);

    /// <summary>What the driver knows of a device; null if there is none.</summary>
    public DeviceInfo? TryGetInfo(int id)
    {
        DeviceInfo info;
        int result = Try(UblkCommands.GetDeviceInfo, (uint)id, &info, sizeof(DeviceInfo), 0, s_deadline);
        if (result == -ENODEV || result == -EINVAL) return null;
        return result >= 0 ? info : throw ControlErrors.Describe(UblkCommands.GetDeviceInfo, id, -result);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _thread.End();
        _file.Dispose();
    }

    private void Run(uint command, uint id, void* data, int length, ulong argument, TimeSpan deadline)
    {
        int result = Try(command, id, data, length, argument, deadline);
        if (result < 0) throw ControlErrors.Describe(command, (int)id, -result);
    }

    /// <summary>Runs a command on the control thread. Its memory is unmanaged: it outlives a command that was given up.</summary>
    private int Try(uint command, uint id, void* data, int length, ulong argument, TimeSpan deadline)
    {
        var memory = (byte*)NativeMemory.AllocZeroed((nuint)Math.Max(length, 1));
        if (length > 0) new ReadOnlySpan<byte>(data, length).CopyTo(new Span<byte>(memory, length));
        var payload = new ControlCommand
        {
            DeviceId = id,
            QueueId = ControlCommand.NoQueue,
            Length = (ushort)length,
            Address = length > 0 ? (ulong)memory : 0,
            Argument = argument,
        };
        if (_thread.TryRun(command, payload, deadline) is { } result)
        {
            if (length > 0) new ReadOnlySpan<byte>(memory, length).CopyTo(new Span<byte>(data, length));
            NativeMemory.Free(memory);
            return result;
        }

        // The kernel may still write to the memory: it is never given back.
        _thread = new ControlThread(_file);
        throw ControlErrors.TimedOut(command, (int)id, deadline);
    }

    private static ProgramException CannotOpen(int error)
    {
        string message = error switch
        {
            _ when error == ENOENT => $"{Path} does not exist: load the ublk driver ('modprobe ublk_drv'); in a container, pass the device in; without the module, install a kernel that has it (CONFIG_BLK_DEV_UBLK)",
            _ when error == EACCES || error == EPERM => $"{Path} may not be opened by this user: run as root",
            _ => $"{Path} cannot be opened: {PosixFile.Describe(error)}",
        };
        return new ProgramException(ExitCode.Environment, message);
    }
}
