using Microsoft.Extensions.Logging;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using MuenBlock.Ublk.Control;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Queues;

/// <summary>
/// The block devices of a connection, from the first greeting to the last deletion, or until they are left to another server. There are
/// two ways in, and both greet the server first: its answer to the Reset says that nothing of an earlier session touches the buffer any more (I6),
/// and only then may the driver copy into it.
/// </summary>
internal sealed partial class DeviceServer : IDisposable
{
    // Drivers that have this feature copy through the server's page tables (copy_to_iter); those before look its pages up and hold them
    // meanwhile (iov_iter_get_pages2), and where that fails for the first page they ask again every 3 ms, for ever (ublk_drv.c).
    private const UblkFeatures CopiesByAddress = UblkFeatures.BatchIo;

    private static readonly TimeSpan s_closePatience = TimeSpan.FromSeconds(30); // for the last I/O of a device that was stopped
    private static readonly TimeSpan s_remindEvery = TimeSpan.FromSeconds(1); // see ControlPlane.Stop
    private static readonly TimeSpan s_successorPatience = TimeSpan.FromSeconds(10); // a killed client's files are closed within milliseconds

    private readonly ControlPlane _control;
    private readonly ConnectionRegions _regions;
    private readonly ConnectionThread _thread;
    private readonly ILogger _log;
    private readonly List<BlockDevice> _devices = [];
    private BounceBuffer? _bounce;
    private bool _serving;

    private DeviceServer(ControlPlane control, ConnectionRegions regions, ConnectionThread thread, ILogger log)
    {
        _control = control;
        _regions = regions;
        _thread = thread;
        _log = log;
    }

    /// <summary>The devices, in the order of their ids on the connection.</summary>
    public IReadOnlyList<BlockDevice> Devices => _devices;

    /// <summary>Connects to the server, and makes a block device of each of its devices or takes over those that wait. When it returns they can be used.</summary>
    /// <param name="options">What to do.</param>
    /// <param name="files">The regions of all connections.</param>
    /// <param name="log">Where to say how.</param>
    /// <param name="ended">Called on another thread when the connection has ended.</param>
    /// <exception cref="ProgramException">It could not be done. Nothing that was added is left behind; what waited goes on waiting.</exception>
    public static DeviceServer Start(ServerOptions options, RegionFiles files, ILogger log, Action ended)
    {
        bool takesOver = options.Waiting.Count > 0;
        TimeSpan patience = takesOver ? s_successorPatience : TimeSpan.Zero;
        long deadline = Environment.TickCount64 + (long)options.ConnectTimeout.TotalMilliseconds;
        ControlPlane control = ControlPlane.Open(log);
        ConnectionRegions? regions = null;
        DeviceServer? server = null;
        try
        {
            regions = ConnectionRegions.Open(options.Connection, options.RegionDirectory, deadline, patience, files);
            server = new DeviceServer(control, regions, new ConnectionThread(regions, options.Serving, log, ended), log);
            server.Begin(options, deadline);
            return server;
        }
        catch
        {
            server?.GiveUp(takesOver);
            regions?.Dispose();
            control.Dispose();
            throw;
        }
    }

    /// <summary>Whether every device has ended, or the connection has failed.</summary>
    public bool Ended => _thread.Failure is not null || _devices.TrueForAll(device => device.Queue.Closed.IsSet);

    /// <summary>What ended the connection before its time.</summary>
    public Exception? Failure => _thread.Failure;

    /// <summary>Looks whether the regions still have their size; to be called now and then.</summary>
    public void LookAtRegions() => _thread.LookAtRegions();

    /// <summary>Whether the devices wait for another server when this one leaves.</summary>
    public bool IsRecoverable => _devices.TrueForAll(device => device.IsRecoverable);

    /// <summary>Whether no I/O is under way. Stopping a device whose I/O does not end would wait for it for ever.</summary>
    public bool IsIdle => _devices.TrueForAll(device => device.Queue.Closed.IsSet || DeviceHolders.InFlight(device.Id) == 0);

    /// <summary>Which devices are in use, and by whom, in words; empty if none is.</summary>
    public IReadOnlyList<string> Users() =>
        [.. _devices.Where(device => !device.Queue.Closed.IsSet).SelectMany(device => DeviceHolders.Find(device.Id).Select(holder => $"{device.Path} is {holder}"))];

    /// <summary>Stops and deletes the devices that are still there, whoever uses them; but not one that waits for another server.</summary>
    public void Dispose()
    {
        foreach (BlockDevice device in _devices) Remove(device);
        End();
    }

    /// <summary>Lets go of the devices, which wait for another server from now on. No command is needed for that, so nothing can hold it up.</summary>
    public void Leave()
    {
        // Where every tag has been aborted the driver wants no server any more: the device was stopped, or another server is expected.
        foreach (BlockDevice device in _devices.Where(device => !device.Queue.Closed.IsSet)) LogLeft(_log, device.Path);
        End();
    }

    /// <summary>Whether the driver has no such device any more, so that what is known of it may go.</summary>
    /// <param name="device">One of the devices, after <see cref="Dispose"/> or <see cref="Leave"/>.</param>
    public static bool IsGone(BlockDevice device) => !DeviceDirectory.Ids().Contains(device.Id);

    private void Begin(ServerOptions options, long deadline)
    {
        if (options.Waiting.Count > 0)
        {
            TakeOver(options, _thread.Connect(deadline));
            return;
        }

        RefuseBesideWaiting(_control, options);
        AddDevices(options, _thread.Connect(deadline));
    }

    private void GiveUp(bool takesOver)
    {
        if (takesOver) Leave();
        else Dispose();
    }

    private void End()
    {
        _thread.Stop();
        _thread.Join();
        foreach (BlockDevice device in _devices) device.Queue.Dispose();
        _thread.Dispose();
        _bounce?.Dispose();
        _regions.Dispose();
        _control.Dispose();
    }

    /// <summary>Two block devices of one disk, and one of them waiting with old writes: that must not come to pass.</summary>
    private static void RefuseBesideWaiting(ControlPlane control, ServerOptions options)
    {
        uint fingerprint = Ownership.Fingerprint(options.Connection, options.RegionDirectory);
        foreach (int id in DeviceDirectory.Ids())
        {
            if (control.TryGetInfo(id) is not { } info || !Ownership.IsOurs(info) || !DeviceSummary.Waits(info) || Ownership.Connection(info) != fingerprint) continue;
            throw new ProgramException(
                ExitCode.Busy,
                $"/dev/ublkb{id} of connection {options.Connection.Id} waits for a server: take it over ('muenblock-ublk recover {id}'), or give it up ('muenblock-ublk del --force {id}')");
        }
    }

    private void AddDevices(ServerOptions options, IReadOnlyList<DeviceGeometry> geometries)
    {
        (byte Device, DeviceGeometry Geometry)[] present =
            [.. geometries.Select((geometry, device) => ((byte)device, geometry)).Where(pair => pair.geometry.Blocks != 0)];
        if (present.Length == 0) throw new ProgramException(ExitCode.Peer, $"connection {options.Connection.Id}: the server exports no device with any blocks");

        Region? shared = SharedBuffer(options);
        ulong whole = _regions.Buffer.Length;
        if (options.ApplicationMemory >= whole)
            throw new ProgramException(ExitCode.Usage, $"--app-memory {options.ApplicationMemory} leaves nothing for other I/O of the buffer of {whole} bytes: use less, or a larger buffer");
        var layout = BufferLayout.Cut(
            whole - options.ApplicationMemory, present.Length, _thread.MostInFlight, present.Min(pair => pair.Geometry.MostBytes), MergesByBytes(options), options.Depth, options.LargestIo);
        for (int index = 0; index < present.Length; index++)
        {
            int wanted = options.Id < 0 ? -1 : options.Id + index;
            ulong mark = Ownership.Mark(present[index].Device, options.Serving.OffsetUnit, Ownership.Fingerprint(options.Connection, options.RegionDirectory));
            _devices.Add(BlockDevice.Add(_control, wanted, mark, index, present[index].Geometry, layout, options.ReadOnly, shared, options.Batch));
        }

        Assign(layout);
        foreach (BlockDevice device in _devices)
        {
            device.Start();
            LogStarted(_log, device.Path, device.Queue.Device, device.Size, layout.Depth, layout.LargestSlotIo, Tags(device));
            if (device.SharesMemory) LogShares(_log, device.Path, _regions.Buffer.Name, layout.SlotsEnd, _regions.Buffer.Length);
        }
    }

    /// <summary>The part of the buffer behind the slots, if applications' I/O there is not copied.</summary>
    public ApplicationMemory? ApplicationMemory { get; private set; }

    /// <summary>The buffer, if applications are to share it and the driver lets them.</summary>
    private Region? SharedBuffer(ServerOptions options)
    {
        if (options.ApplicationMemory == 0) return null;
        Region buffer = _regions.Buffer;
        if (MergesByBytes(options))
            throw new ProgramException(ExitCode.Peer, $"connection {options.Connection.Id}: --app-memory needs a server that agrees on features, such as muenblock-backend: one of the original's might merge what it should not");
        if (!buffer.CanBePinned)
            throw new ProgramException(ExitCode.Resource, $"--app-memory: the pages of buffer {buffer.Name} cannot be pinned: leave the option out, or use a buffer in memory such as /dev/shm");
        if (_control.Features.HasFlag(UblkFeatures.SharedMemoryZeroCopy)) return buffer;
        LogCannotShare(_log, _regions.Name.Id);
        return null;
    }

    /// <summary>Where offsets are bytes the original's servers merge rightly, and servers of ours do not merge.</summary>
    private bool MergesByBytes(ServerOptions options) => _thread.ServerFeatures == PeerFeatures.None && options.Serving.OffsetUnit == OffsetUnit.Sectors;

    private void Assign(BufferLayout layout)
    {
        _serving = true;
        _bounce = Bounce(layout);
        if (_devices.Exists(device => device.SharesMemory)) ApplicationMemory = new ApplicationMemory(_regions.Buffer.Path, layout.SlotsEnd, _regions.Buffer.Length - layout.SlotsEnd);
        _thread.Assign(layout, [.. _devices.Select(device => device.Queue)], _bounce);
    }

    /// <summary>What stands in for the buffer where the driver, which copies to and from it, cannot reach it.</summary>
    private BounceBuffer? Bounce(BufferLayout layout)
    {
        Region buffer = _regions.Buffer;
        if (buffer.CanBePinned)
        {
            LogPinned(_log, _regions.Name.Id, buffer.Name);
            return null;
        }

        if (_control.Features.HasFlag(CopiesByAddress))
        {
            LogReached(_log, _regions.Name.Id, buffer.Name);
            return null;
        }

        var bounce = new BounceBuffer(buffer, (nuint)layout.Slots * layout.SlotSize);
        LogBounce(_log, _regions.Name.Id, buffer.Name, (ulong)bounce.Length);
        return bounce;
    }

    private void Remove(BlockDevice device)
    {
        try
        {
            if (_control.TryGetInfo(device.Id) is not { } info || !Ownership.IsOurs(info) || DeviceSummary.Waits(info)) return;

            // Its tags were aborted without it being stopped: it waits, or is about to (QUIESCE_DEV).
            if (_serving && device.Queue.Closed.IsSet && info.State != DeviceState.Dead) return;
            if (!device.Queue.Closed.IsSet) device.Stop();
            if (!_serving || _thread.Failure is not null) device.Queue.Dispose();
            if (!WaitUntilClosed(device)) LogNotClosed(_log, device.Path);
            device.Delete();
        }
        catch (ProgramException failure)
        {
            LogNotRemoved(_log, device.Path, failure.Message);
        }
    }

    private static string Tags(BlockDevice device) => device.Queue.IsBatched ? "in batches" : "one by one";

    private static bool WaitUntilClosed(BlockDevice device)
    {
        long end = Environment.TickCount64 + (long)s_closePatience.TotalMilliseconds;
        while (!device.Queue.Closed.Wait(s_remindEvery))
        {
            if (Environment.TickCount64 >= end) return false;
            if (device.Queue.IsBatched) device.Stop();
        }

        return true;
    }

    [LoggerMessage(30, LogLevel.Information, "{Path}: device {Device} of the connection, {Size} bytes, queue depth {Depth}, I/O of up to {LargestIo} bytes, tags {Tags}")]
    private static partial void LogStarted(ILogger log, string path, ushort device, ulong size, int depth, uint largestIo, string tags);

    [LoggerMessage(38, LogLevel.Information, "{Path}: O_DIRECT I/O from and to buffer {Name} is not copied, from its byte {Offset} to {End}")]
    private static partial void LogShares(ILogger log, string path, string name, ulong offset, ulong end);

    [LoggerMessage(39, LogLevel.Warning, "connection {Connection}: --app-memory has no effect but to reserve the memory: this kernel's driver copies all I/O (SHMEM_ZC came with Linux 7.1)")]
    private static partial void LogCannotShare(ILogger log, uint connection);

    [LoggerMessage(31, LogLevel.Error, "{Path}: its last I/O has not ended in time; its server may be stuck")]
    private static partial void LogNotClosed(ILogger log, string path);

    [LoggerMessage(32, LogLevel.Error, "{Path}: not removed: {Reason}")]
    private static partial void LogNotRemoved(ILogger log, string path, string reason);

    [LoggerMessage(36, LogLevel.Warning, "{Path}: left; its I/O waits for another server ('muenblock-ublk recover')")]
    private static partial void LogLeft(ILogger log, string path);

    [LoggerMessage(37, LogLevel.Information, "{Path}: taken over; device {Device} of the connection, {Size} bytes, queue depth {Depth}, I/O of up to {LargestIo} bytes, tags {Tags}")]
    private static partial void LogTakenOver(ILogger log, string path, ushort device, ulong size, int depth, uint largestIo, string tags);

    [LoggerMessage(33, LogLevel.Information, "connection {Connection}: the pages of buffer {Name} can be pinned: the driver copies to and from the buffer itself")]
    private static partial void LogPinned(ILogger log, uint connection, string name);

    [LoggerMessage(34, LogLevel.Information, "connection {Connection}: the pages of buffer {Name} cannot be pinned, but this kernel's driver need not: it copies to and from the buffer itself")]
    private static partial void LogReached(ILogger log, uint connection, string name);

    [LoggerMessage(35, LogLevel.Information, "connection {Connection}: the pages of buffer {Name} cannot be pinned: data is copied through a bounce buffer of {Bytes} bytes")]
    private static partial void LogBounce(ILogger log, uint connection, string name, ulong bytes);
}
