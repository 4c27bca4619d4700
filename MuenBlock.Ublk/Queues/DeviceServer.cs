using Microsoft.Extensions.Logging;
using MuenBlock.IoUring;
using MuenBlock.Protocol;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using MuenBlock.Ublk.Control;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Queues;

/// <summary>
/// The block devices of a connection, or of joined ones, from the first greeting to the last deletion, or until they are left to another server. There are
/// two ways in, and both greet the server first: its answer to the Reset says that nothing of an earlier session touches the buffer any more (I6),
/// and only then may the driver copy into it.
/// </summary>
internal sealed partial class DeviceServer : IDisposable
{
    // Drivers that have this feature copy through the server's page tables (copy_to_iter); those before look its pages up and hold them
    // meanwhile (iov_iter_get_pages2), and where that fails for the first page they ask again every 3 ms, for ever (ublk_drv.c).
    private const UblkFeatures CopiesByAddress = UblkFeatures.BatchIo;

    private static readonly TimeSpan s_partingPatience = TimeSpan.FromSeconds(1); // whose last device was just deleted has its regions for some milliseconds
    private static readonly TimeSpan s_successorPatience = TimeSpan.FromSeconds(10); // a killed client's files are closed within milliseconds

    private readonly ControlPlane _control;
    private readonly ILogger _log;
    private readonly List<ServedConnection> _connections = [];
    private readonly List<BlockDevice> _devices = [];
    private DeviceGeometry[] _geometries = [];
    private bool _serving;
    private bool _sharesMemory;

    private DeviceServer(ControlPlane control, ILogger log)
    {
        _control = control;
        _log = log;
    }

    /// <summary>The devices, in the order of their ids on the connection.</summary>
    public IReadOnlyList<BlockDevice> Devices => _devices;

    /// <summary>Connects to the servers and greets them. Nothing is made of their devices yet.</summary>
    /// <param name="options">What to do.</param>
    /// <param name="files">The regions of all connections.</param>
    /// <param name="log">Where to say how.</param>
    /// <param name="news">Called on another thread when a connection has ended, or has something for <see cref="LookAtSizes"/>.</param>
    /// <param name="giveUp">Whether to wait no longer; asked again and again.</param>
    /// <exception cref="ProgramException">It could not be done.</exception>
    public static DeviceServer Connect(ServerOptions options, RegionFiles files, ILogger log, Action news, Func<bool> giveUp)
    {
        long deadline = Environment.TickCount64 + (long)options.ConnectTimeout.TotalMilliseconds;
        var server = new DeviceServer(ControlPlane.Open(log), log);
        try
        {
            server.Open(options, files, deadline, options.Waiting.Count > 0 ? s_successorPatience : s_partingPatience, news, giveUp);
            server.Greet(options, deadline, giveUp);
            return server;
        }
        catch
        {
            server.End();
            throw;
        }
    }

    /// <summary>Makes a block device of each of the servers' devices, or takes over those that wait. When it returns they can be used.</summary>
    /// <param name="options">What to do.</param>
    /// <param name="record">Records a device. One that is added is recorded before it starts, and outlives this process: its record has to as well.</param>
    /// <exception cref="ProgramException">
    /// It could not be done, and this has ended. What was added is gone, unless it was started and then lost the thread of a connection, for which it
    /// waits; what waited goes on waiting.
    /// </exception>
    public void Begin(ServerOptions options, Action<BlockDevice> record)
    {
        bool takesOver = options.Waiting.Count > 0;
        try
        {
            if (takesOver) TakeOver(options, record);
            else AddDevices(options, record);
        }
        catch
        {
            // What the driver waited for in vain may be a thread that has failed: that is what went wrong.
            ServedConnection? failed = _connections.Find(static connection => connection.Thread.Failure is not null);
            if (takesOver) Leave();
            else Dispose();
            failed?.Thread.ThrowFailure();
            throw;
        }
    }

    /// <summary>Whether every device has ended, or a connection has failed.</summary>
    public bool Ended => Failure is not null || _devices.TrueForAll(static device => device.IsClosed);

    /// <summary>Whether connections and devices were let go of, so that another process can have them.</summary>
    public bool HasLetGo { get; private set; }

    /// <summary>What ended a connection before its time.</summary>
    public Exception? Failure => _connections.Find(static connection => connection.Thread.Failure is not null)?.Thread.Failure;

    /// <summary>Looks whether the regions still have their size; to be called now and then.</summary>
    public void LookAtRegions()
    {
        if (HasLetGo) return;
        foreach (ServedConnection connection in _connections) connection.Thread.LookAtRegions();
    }

    /// <summary>Whether the devices wait for another server when this one leaves.</summary>
    public bool IsRecoverable => _devices.TrueForAll(device => device.IsRecoverable);

    /// <summary>Whether no I/O is under way. Stopping a device whose I/O does not end would wait for it for ever.</summary>
    public bool IsIdle => _devices.TrueForAll(device => device.IsClosed || DeviceHolders.InFlight(device.Id) == 0);

    /// <summary>I/Os of the devices that have ended.</summary>
    public long CompletedIos => _devices.Sum(device => DeviceHolders.Completed(device.Id));

    /// <summary>Which devices are in use, and by whom, in words; empty if none is.</summary>
    public IReadOnlyList<string> Users() =>
        [.. _devices.Where(device => !device.IsClosed).SelectMany(device => DeviceHolders.FindWithClaims(device.Id).Select(holder => $"{device.Path} is {holder}"))];

    private void Open(ServerOptions options, RegionFiles files, long deadline, TimeSpan patience, Action news, Func<bool> giveUp)
    {
        IReadOnlyList<ConnectionString> connections = options.Connections.Members;
        JoinedSessions? joined = connections.Count > 1 ? new JoinedSessions([.. connections.Select(connection => connection.Id)]) : null;
        bool knowsDisks = options.Waiting.Any(info => DeviceRecord.TryLoad((int)info.DeviceId) is { DiskNumber: not 0 });
        foreach (ConnectionString connection in connections)
        {
            var regions = ConnectionRegions.Open(connection, options.RegionDirectory, deadline, patience, files, giveUp);
            try
            {
                var thread = new ConnectionThread(regions, options.Serving, joined?[_connections.Count], _log, OnNews) { Grows = Grows, KnowsDisks = knowsDisks };
                _connections.Add(new ServedConnection(regions, thread));
            }
            catch (RingException failure)
            {
                regions.Dispose();
                throw new ProgramException(ExitCode.Environment, $"connection {connection.Id}: {failure.Message}", failure);
            }
        }

        void OnNews()
        {
            // A device whose queues are not all served would hold up those who use it: its next server has to be told of the end of this one.
            if (Failure is not null) Stop();
            news();
        }
    }

    private void Greet(ServerOptions options, long deadline, Func<bool> giveUp)
    {
        if (options.Waiting.Count == 0) new VacantConnection(_control, RemovalMachine.This).Check(options.Connections, options.RegionDirectory, giveUp);
        foreach (ServedConnection connection in _connections) connection.Thread.Begin();
        _geometries = JoinedDevices.Meet([.. _connections.Select(connection => (connection.Regions.Name.Id, connection.Thread.Connect(deadline, giveUp)))]);
    }

    private void Stop()
    {
        foreach (ServedConnection connection in _connections) connection.Thread.Stop();
    }

    /// <summary>Ends the threads, which let go of all devices.</summary>
    private void Join()
    {
        Stop();
        foreach (ServedConnection connection in _connections) connection.Thread.Join();
    }

    private void AddDevices(ServerOptions options, Action<BlockDevice> record)
    {
        (byte Device, DeviceGeometry Geometry)[] present =
            [.. _geometries.Select((geometry, device) => ((byte)device, geometry)).Where(pair => pair.geometry.Blocks != 0)];
        if (present.Length == 0) throw new ProgramException(ExitCode.Peer, $"{options.Connections.Name}: the backend exports no device with any blocks");

        Region? shared = SharedBuffer(options);
        _sharesMemory = shared is not null;
        ulong whole = BufferLength;
        if (options.ApplicationMemory >= whole)
            throw new ProgramException(ExitCode.Usage, $"--app-memory {options.ApplicationMemory} leaves nothing for other I/O of the buffer of {whole} bytes: use less, or a larger buffer");
        var layout = BufferLayout.Cut(
            whole - options.ApplicationMemory, present.Length, MostInFlight, present.Min(pair => pair.Geometry.MostBytes), MergesByBytes(options), options.Depth, options.LargestIo);
        for (int index = 0; index < present.Length; index++)
        {
            int wanted = options.Id < 0 ? -1 : options.Id + index;
            ulong mark = Ownership.Mark(present[index].Device, options.Serving.OffsetUnit, Ownership.Fingerprint(options.Connections, options.RegionDirectory));
            _devices.Add(BlockDevice.Add(_control, wanted, _connections.Count, mark, index, present[index].Geometry, layout, options.ReadOnly, shared, options.Batch));
        }

        Prepare(layout, _devices[0].Id, options);
        Assign(layout);
        foreach (BlockDevice device in _devices)
        {
            record(device);
            device.Start();
            LogStarted(_log, device.Path, device.Device, device.Size, layout.Depth, layout.LargestSlotIo);
            LogQueues(device, options);
            if (_sharesMemory) LogShares(_log, device.Path, OnlyBuffer.Name, layout.SlotsEnd, OnlyBuffer.Length);
        }
    }

    /// <summary>The part of the buffer behind the slots, if applications' I/O there is not copied.</summary>
    public ApplicationMemory? ApplicationMemory { get; private set; }

    /// <summary>Whether the memory that applications shared has been lost since the last call. It is not shared any more then, with no successor either.</summary>
    public bool TakeMemoryLoss()
    {
        if (ApplicationMemory is null || !_connections[0].Thread.HasLostBuffer) return false;
        ApplicationMemory = null;
        LogSharesNoMore(_log, OnlyBuffer.Name);
        return true;
    }

    // Of a connection that is not joined with others. An application's I/O may take any queue, and its memory would be in the buffer of one.
    private Region OnlyBuffer => _connections[0].Regions.Buffer;

    /// <summary>The buffer, if applications are to share it and the driver lets them.</summary>
    private Region? SharedBuffer(ServerOptions options)
    {
        if (options.ApplicationMemory == 0) return null;
        Region buffer = OnlyBuffer;
        if (MergesByBytes(options))
            throw new ProgramException(ExitCode.Peer, $"{options.Connections.Name}: --app-memory needs a backend that agrees on features, such as muenblock-backend: one of the original's might merge what it should not");
        if (!buffer.CanBePinned)
            throw new ProgramException(ExitCode.Resource, $"--app-memory: the pages of buffer {buffer.Name} cannot be pinned: leave the option out, or use a buffer in memory such as /dev/shm");
        if (_control.Features.HasFlag(UblkFeatures.SharedMemoryZeroCopy)) return buffer;
        LogCannotShare(_log, _connections[0].Regions.Name.Id);
        return null;
    }

    // All connections are cut alike, as the device's queues are: by what the smallest one allows.
    private ulong BufferLength => _connections.Min(connection => (ulong)connection.Regions.Buffer.Length);

    private uint MostInFlight => _connections.Min(connection => connection.Thread.MostInFlight);

    private void LogQueues(BlockDevice device, ServerOptions options)
    {
        if (device.Queues.Length > 1) LogJoined(_log, device.Path, device.Queues.Length, options.Connections.Name);
    }

    /// <summary>Where offsets are bytes the original's servers merge rightly, and servers of ours do not merge.</summary>
    private bool MergesByBytes(ServerOptions options) => options.Serving.OffsetUnit == OffsetUnit.Sectors && _connections.Exists(connection => connection.Thread.ServerFeatures == PeerFeatures.None);

    /// <summary>Takes all that serving needs, of which there may be too little.</summary>
    private void Prepare(BufferLayout layout, int firstId, ServerOptions options)
    {
        CpuChoice choice = options.Serving.Cpus;
        for (int i = 0; i < _connections.Count; i++)
        {
            ServedConnection connection = _connections[i];
            connection.Bounce = Bounce(connection.Regions, layout);
            connection.Thread.Prepare(layout, connection.Bounce);
            connection.Cpus = choice.FollowsQueues ? _control.GetQueueAffinity(firstId, i) : choice.Of(i, _connections.Count);
        }
    }

    private void Assign(BufferLayout layout)
    {
        if (_sharesMemory) ApplicationMemory = ApplicationMemory.Of(OnlyBuffer, layout.SlotsEnd);

        // Only then does anything wait for the driver, which would wait for a queue whose thread has failed.
        _serving = true;
        DevicePromise[] promises = [.. _devices.Select(device => device.Promise)];
        for (int i = 0; i < _connections.Count; i++) _connections[i].Thread.Assign(layout, [.. _devices.Select(device => device.Queues[i])], promises, _connections[i].Bounce, _connections[i].Cpus, _sharesMemory);
        foreach (ServedConnection connection in _connections) connection.Thread.AwaitTaken();
    }

    /// <summary>What stands in for a buffer where the driver, which copies to and from it, cannot reach it.</summary>
    private BounceBuffer? Bounce(ConnectionRegions regions, BufferLayout layout)
    {
        Region buffer = regions.Buffer;
        if (buffer.CanBePinned)
        {
            LogPinned(_log, regions.Name.Id, buffer.Name);
            return null;
        }

        if (_control.Features.HasFlag(CopiesByAddress))
        {
            LogReached(_log, regions.Name.Id, buffer.Name);
            return null;
        }

        var bounce = new BounceBuffer(buffer, (nuint)layout.Slots * layout.SlotSize);
        LogBounce(_log, regions.Name.Id, buffer.Name, (ulong)bounce.Length);
        return bounce;
    }

    /// <summary>A connection: what it consists of, who carries its I/O and where, and what stands in for its buffer.</summary>
    private sealed class ServedConnection(ConnectionRegions regions, ConnectionThread thread) : IDisposable
    {
        public ConnectionRegions Regions { get; } = regions;

        public ConnectionThread Thread { get; } = thread;

        public BounceBuffer? Bounce { get; set; }

        public IReadOnlyList<int> Cpus { get; set; } = [];

        /// <summary>The <see cref="ConnectionThread.SizeAnswers"/> there were before those that are waited for.</summary>
        public (int All, int Failed) SizeAnswersBefore { get; set; }

        public void Dispose()
        {
            Thread.Dispose();
            Bounce?.Dispose();
            Regions.Dispose();
        }
    }

    [LoggerMessage(43, LogLevel.Information, "{Path}: joined: {Queues} hardware queues, one for each of {Connections}")]
    private static partial void LogJoined(ILogger log, string path, int queues, string connections);

    [LoggerMessage(30, LogLevel.Information, "{Path}: device {Device} of the connection, {Size} bytes, queue depth {Depth}, I/O of up to {LargestIo} bytes")]
    private static partial void LogStarted(ILogger log, string path, ushort device, ulong size, int depth, uint largestIo);

    [LoggerMessage(38, LogLevel.Information, "{Path}: O_DIRECT I/O from and to buffer {Name} is not copied, from its byte {Offset} to {End}")]
    private static partial void LogShares(ILogger log, string path, string name, ulong offset, ulong end);

    [LoggerMessage(55, LogLevel.Warning, "buffer {Name} was cut off: until the devices are deleted and added anew all I/O is copied, but for that of applications which hold memory of before, which fails (EFAULT)")]
    private static partial void LogSharesNoMore(ILogger log, string name);

    [LoggerMessage(39, LogLevel.Warning, "connection {Connection}: --app-memory has no effect but to reserve the memory: this kernel's driver copies all I/O (SHMEM_ZC came with Linux 7.1)")]
    private static partial void LogCannotShare(ILogger log, uint connection);

    [LoggerMessage(37, LogLevel.Information, "{Path}: taken over; device {Device} of the connection, {Size} bytes, queue depth {Depth}, I/O of up to {LargestIo} bytes")]
    private static partial void LogTakenOver(ILogger log, string path, ushort device, ulong size, int depth, uint largestIo);

    [LoggerMessage(33, LogLevel.Information, "connection {Connection}: the pages of buffer {Name} can be pinned: the driver copies to and from the buffer itself")]
    private static partial void LogPinned(ILogger log, uint connection, string name);

    [LoggerMessage(34, LogLevel.Information, "connection {Connection}: the pages of buffer {Name} cannot be pinned, but this kernel's driver need not: it copies to and from the buffer itself")]
    private static partial void LogReached(ILogger log, uint connection, string name);

    [LoggerMessage(35, LogLevel.Information, "connection {Connection}: the pages of buffer {Name} cannot be pinned: data is copied through a bounce buffer of {Bytes} bytes")]
    private static partial void LogBounce(ILogger log, uint connection, string name, ulong bytes);
}
