using Microsoft.Extensions.Logging;
using MuenBlock.Protocol;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using MuenBlock.Ublk.Control;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Queues;

/// <summary>What <c>add</c> was asked to do.</summary>
internal sealed class ServerOptions
{
    /// <summary>The connection.</summary>
    public required ConnectionString Connection { get; init; }

    /// <summary>Where its regions are.</summary>
    public required string RegionDirectory { get; init; }

    /// <summary>The id of the first block device; -1 for any.</summary>
    public required int Id { get; init; }

    /// <summary>The queue depth, or null.</summary>
    public required int? Depth { get; init; }

    /// <summary>The largest I/O in bytes, or null.</summary>
    public required uint? LargestIo { get; init; }

    /// <summary>Whether the devices are read-only even if the server would let them be written.</summary>
    public required bool ReadOnly { get; init; }

    /// <summary>How long the server may take to appear.</summary>
    public required TimeSpan ConnectTimeout { get; init; }

    /// <summary>How the connection is used.</summary>
    public required ConnectionOptions Serving { get; init; }
}

/// <summary>The block devices of a connection, from the first greeting to the last deletion.</summary>
internal sealed partial class DeviceServer : IDisposable
{
    // Drivers that have this feature copy through the server's page tables (copy_to_iter); those before look its pages up and hold them
    // meanwhile (iov_iter_get_pages2), and where that fails for the first page they ask again every 3 ms, for ever (ublk_drv.c).
    private const UblkFeatures CopiesByAddress = UblkFeatures.BatchIo;

    private static readonly TimeSpan s_closePatience = TimeSpan.FromSeconds(30); // for the last I/O of a device that was stopped

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

    /// <summary>Connects to the server and makes a block device of each of its devices. When it returns they can be used.</summary>
    /// <param name="options">What to do.</param>
    /// <param name="files">The regions of all connections.</param>
    /// <param name="log">Where to say how.</param>
    /// <param name="ended">Called on another thread when the connection has ended.</param>
    /// <exception cref="ProgramException">It could not be done; nothing is left behind.</exception>
    public static DeviceServer Start(ServerOptions options, RegionFiles files, ILogger log, Action ended)
    {
        long deadline = Environment.TickCount64 + (long)options.ConnectTimeout.TotalMilliseconds;
        ControlPlane control = ControlPlane.Open(log);
        ConnectionRegions? regions = null;
        DeviceServer? server = null;
        try
        {
            regions = ConnectionRegions.Open(options.Connection, options.RegionDirectory, deadline, files);
            server = new DeviceServer(control, regions, new ConnectionThread(regions, options.Serving, log, ended), log);
            server.AddDevices(options, server._thread.Connect(deadline));
            return server;
        }
        catch
        {
            server?.Dispose();
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

    /// <summary>Which devices are in use, and by whom, in words; empty if none is.</summary>
    public IReadOnlyList<string> Users() =>
        [.. _devices.Where(device => !device.Queue.Closed.IsSet).SelectMany(device => DeviceHolders.Find(device.Id).Select(holder => $"{device.Path} is {holder}"))];

    /// <summary>Stops and deletes the devices that are still there, whoever uses them.</summary>
    public void Dispose()
    {
        foreach (BlockDevice device in _devices) Remove(device);
        if (!_serving || _thread.Failure is not null) _thread.Stop();
        _thread.Join();
        _thread.Dispose();
        _bounce?.Dispose();
        _regions.Dispose();
        _control.Dispose();
    }

    private void AddDevices(ServerOptions options, IReadOnlyList<DeviceGeometry> geometries)
    {
        (ushort Device, DeviceGeometry Geometry)[] present =
            [.. geometries.Select((geometry, device) => ((ushort)device, geometry)).Where(pair => pair.geometry.Blocks != 0)];
        if (present.Length == 0) throw new ProgramException(ExitCode.Peer, $"connection {options.Connection.Id}: the server exports no device with any blocks");

        // Where offsets are bytes the original's servers merge rightly, and servers of ours do not merge.
        bool mergesByBytes = _thread.ServerFeatures == PeerFeatures.None && options.Serving.OffsetUnit == OffsetUnit.Sectors;
        var layout = BufferLayout.Cut(
            _regions.Buffer.Length, present.Length, _thread.MostInFlight, present.Min(pair => pair.Geometry.MostBytes), mergesByBytes, options.Depth, options.LargestIo);
        for (int index = 0; index < present.Length; index++)
        {
            int wanted = options.Id < 0 ? -1 : options.Id + index;
            _devices.Add(BlockDevice.Add(_control, wanted, present[index].Device, index, present[index].Geometry, layout, options.ReadOnly));
        }

        _serving = true;
        _bounce = Bounce(layout);
        _thread.Assign(layout, [.. _devices.Select(device => device.Queue)], _bounce);
        foreach (BlockDevice device in _devices)
        {
            device.Start();
            LogStarted(_log, device.Path, device.Queue.Device, device.Size, layout.Depth, layout.LargestSlotIo);
        }
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
            if (_control.TryGetInfo(device.Id) is not { } info || !Ownership.IsOurs(info)) return;
            if (!device.Queue.Closed.IsSet) device.Stop();
            if (!_serving || _thread.Failure is not null) device.Queue.Dispose();
            if (!device.Queue.Closed.Wait(s_closePatience)) LogNotClosed(_log, device.Path);
            device.Delete();
        }
        catch (ProgramException failure)
        {
            LogNotRemoved(_log, device.Path, failure.Message);
        }
    }

    [LoggerMessage(30, LogLevel.Information, "{Path}: device {Device} of the connection, {Size} bytes, queue depth {Depth}, I/O of up to {LargestIo} bytes")]
    private static partial void LogStarted(ILogger log, string path, ushort device, ulong size, int depth, uint largestIo);

    [LoggerMessage(31, LogLevel.Error, "{Path}: its last I/O has not ended in time; its server may be stuck")]
    private static partial void LogNotClosed(ILogger log, string path);

    [LoggerMessage(32, LogLevel.Error, "{Path}: not removed: {Reason}")]
    private static partial void LogNotRemoved(ILogger log, string path, string reason);

    [LoggerMessage(33, LogLevel.Information, "connection {Connection}: the pages of buffer {Name} can be pinned: the driver copies to and from the buffer itself")]
    private static partial void LogPinned(ILogger log, uint connection, string name);

    [LoggerMessage(34, LogLevel.Information, "connection {Connection}: the pages of buffer {Name} cannot be pinned, but this kernel's driver need not: it copies to and from the buffer itself")]
    private static partial void LogReached(ILogger log, uint connection, string name);

    [LoggerMessage(35, LogLevel.Information, "connection {Connection}: the pages of buffer {Name} cannot be pinned: data is copied through a bounce buffer of {Bytes} bytes")]
    private static partial void LogBounce(ILogger log, uint connection, string name, ulong bytes);
}
