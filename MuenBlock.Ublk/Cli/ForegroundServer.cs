using Microsoft.Extensions.Logging;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using MuenBlock.Protocol.Sandboxing;
using MuenBlock.Ublk.Control;
using MuenBlock.Ublk.Queues;

namespace MuenBlock.Ublk.Cli;

/// <summary>A process's life as the server of block devices, from the first greeting until the last device is gone or is left to another.</summary>
/// <param name="connections">The connections.</param>
/// <param name="log">Where to log.</param>
/// <param name="logFile">The file that is logged to; null for standard error.</param>
/// <param name="sandbox">Whether to give up what serving does not need.</param>
internal sealed partial class ForegroundServer(IReadOnlyList<ServerOptions> connections, ILogger log, string? logFile, bool sandbox) : IDepartingServer
{
    private const int OomScore = -1000; // never killed: what is swapped to its devices would be lost with it
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(20); // while the end is near

    private readonly List<DeviceServer> _servers = [];
    private readonly Dictionary<int, ulong> _disks = [];
    private readonly DateTimeOffset _started = DateTimeOffset.UtcNow;

    private bool _ready;

    /// <summary>Whether devices were left to another server.</summary>
    public bool HasLeft { get; private set; }

    /// <summary>Serves in this process, in its terminal.</summary>
    /// <param name="prepare">Finds out what to serve, unless it is to wait no longer.</param>
    /// <param name="serving">How to serve.</param>
    public static ExitCode RunHere(Func<Func<bool>, IReadOnlyList<ServerOptions>> prepare, ServingArguments serving)
    {
        using ILoggerFactory factory = LineLog.ToStandardError(serving.LogLevel);
        using var signals = new TerminationSignals();
        return new ForegroundServer(prepare(() => signals.Received), factory.CreateLogger("serve"), logFile: null, serving.Sandbox).Run(signals, () => signals.Received, static () => { });
    }

    /// <summary>
    /// Serves until every device has ended, or a signal comes while none is in use: then they are removed. A second signal soon after the
    /// first leaves them to another server, if they outlive this one.
    /// </summary>
    /// <param name="signals">The signals.</param>
    /// <param name="giveUp">Whether to wait for servers no longer, as nobody wants their devices any more.</param>
    /// <param name="ready">Called once, when the devices can be used and their paths were printed.</param>
    public ExitCode Run(TerminationSignals signals, Func<bool> giveUp, Action ready)
    {
        // What was taken over has users: a failure on the way must not take it from them.
        ServerEnd end = connections.Any(options => options.Waiting.Count > 0) ? ServerEnd.Leave : ServerEnd.Remove;
        Privileges.NeverGain();
        try
        {
            // Without a driver that is all there is to say.
            ControlPlane.Open(log).Dispose();
            ReclaimSafety.Prepare(log, OomScore);
            var files = new RegionFiles(log);

            // As soon as a device is there somebody may use it: no server may turn out to be missing after that, which would take it away again.
            foreach (ServerOptions options in connections) _servers.Add(DeviceServer.Connect(options, files, log, signals.Interrupt, giveUp));
            foreach ((DeviceServer server, ServerOptions options) in _servers.Zip(connections)) Begin(server, options);

            if (sandbox) Sandbox.EnterAsBlockServer();
            foreach (BlockDevice device in _servers.SelectMany(server => server.Devices)) Console.Out.WriteLine(device.Path);
            Console.Out.Flush();
            ready();
            _ready = true;
            end = WaitForTheEnd(signals);
            return _servers.Any(server => server.Failure is not null) ? ExitCode.Internal : ExitCode.Success;
        }
        finally
        {
            foreach (DeviceServer server in _servers.Where(server => !server.HasLetGo))
            {
                if (server.IsRecoverable && (end == ServerEnd.Leave || server.Failure is not null)) server.Leave();
                else server.Dispose();
                foreach (BlockDevice device in server.Devices) DeleteRecord(device, server.Remains(device));
            }
        }
    }

    /// <summary>Makes or takes over the devices of a connection. What is left of a failure keeps its records, what is gone does not.</summary>
    private void Begin(DeviceServer server, ServerOptions options)
    {
        try
        {
            server.Begin(options, device => Save(options, server, device));
        }
        catch
        {
            foreach (BlockDevice device in server.Devices) DeleteRecord(device, server.Remains(device));
            throw;
        }
    }

    /// <summary>
    /// Lets go of a connection that has ended while others go on. What was stopped is deleted by whoever stopped it; its id may be another process's before
    /// this one ends.
    /// </summary>
    private void LetGo(DeviceServer server)
    {
        foreach (BlockDevice device in server.Devices) DeleteRecord(device, server.IsLeaving(device));
        server.Leave();
    }

    private ServerEnd WaitForTheEnd(TerminationSignals signals)
    {
        var departure = new Departure(this);
        while (!_servers.TrueForAll(server => server.Ended))
        {
            bool signalled = signals.Wait(departure.IsDraining ? s_look : RegionSet.LookInterval);
            LookAfterDevices(signals.TakeLookNow());
            if (signalled && departure.Ask() is { } end) return end;
            if (departure.Look() is not { } found) continue;
            if (found == ServerEnd.Leave) LogNotIdle(log);
            return found;
        }

        return ServerEnd.Remove;
    }

    /// <summary>Once a second, for as long as devices are served: where nothing is new, nothing is allocated (I4).</summary>
    private void LookAfterDevices(bool asksSizes)
    {
        for (int i = 0; i < _servers.Count; i++)
        {
            DeviceServer server = _servers[i];
            if (server.Ended)
            {
                // Its connection is for others now, however long those beside it go on here: to serve its devices, or to add new ones where they were deleted.
                if (!server.HasLetGo && (server.Failure is null || server.IsRecoverable) && _servers.Exists(static other => !other.Ended)) LetGo(server);
                continue;
            }

            server.LookAtRegions();
            if (asksSizes) server.AskSizes();
            bool asked = server.TakeSizeAnswer(out bool complete);
            server.LookAtSizes();
            bool forgets = server.TakeMemoryLoss();
            for (int index = 0; index < server.Devices.Count; index++)
            {
                BlockDevice device = server.Devices[index];
                if (device.IsClosed) continue;

                // A plain server may have been replaced by one that tells which disks it has.
                bool isNew = _disks.GetValueOrDefault(device.Id) == 0 && server.GeometryOf(device).Identity != 0;
                if (!asked && !isNew && !forgets) continue;
                Save(connections[i], server, device, asked ? DateTimeOffset.UtcNow : null, asked && complete ? server.GeometryOf(device).Size : 0);
            }
        }
    }

    private bool IsRecoverable => _servers.TrueForAll(server => server.IsRecoverable);

    long IDepartingServer.Milliseconds => Environment.TickCount64;

    bool IDepartingServer.IsRecoverable => IsRecoverable;

    bool IDepartingServer.IsIdle => _servers.TrueForAll(server => server.IsIdle);

    long IDepartingServer.CompletedIos => _servers.Sum(server => server.CompletedIos);

    bool IDepartingServer.TryRemove() => _servers.TrueForAll(server => server.TryRemove());

    /// <summary>Whoever uses a device would lose what it wrote. A program that must go at once is asked twice, and its devices wait.</summary>
    bool IDepartingServer.IsInUse()
    {
        string[] users = [.. _servers.SelectMany(server => server.Users())];
        if (users.Length > 0) LogInUse(log, string.Join("; ", users), IsRecoverable ? "; or ask within 10 s to leave them to another server" : string.Empty);
        return users.Length > 0;
    }

    /// <summary>The record is for those who ask later. A device that is in use goes on without.</summary>
    private void Save(ServerOptions options, DeviceServer server, BlockDevice device, DateTimeOffset? sizeAsked = null, ulong serverSize = 0)
    {
        // A server that cannot tell which disk it has may take the place of one that could.
        ulong disk = server.GeometryOf(device).Identity;
        if (disk == 0 && options.Waiting.Count > 0) disk = DeviceRecord.TryLoad(device.Id)?.DiskNumber ?? 0;
        _disks[device.Id] = disk;
        var record = new DeviceRecord
        {
            Id = device.Id,
            Path = device.Path,
            Pid = Environment.ProcessId,
            Connection = options.Connections.ToString(),
            RegionDirectory = options.RegionDirectory,
            DeviceIndex = device.Device,
            LogFile = logFile,
            Options = options.Recorded,
            ApplicationMemory = server.ApplicationMemory,
            Started = _started,
            EventDirectory = options.Serving.EventDirectory,
            Disk = DeviceRecord.FormatDisk(disk),
            SizeAsked = sizeAsked,
            ServerSize = serverSize,
        };
        try
        {
            record.Save();
        }
        catch (ProgramException failure) when (options.Waiting.Count > 0 || _ready)
        {
            LogNotRecorded(log, failure.Message);
        }
    }

    /// <summary>Once a device is gone its id may be another server's, and the record with it. That of a device that waits is for its next server.</summary>
    private void DeleteRecord(BlockDevice device, bool isLeft)
    {
        if (isLeft) HasLeft = true;
        else if (DeviceRecord.TryLoad(device.Id)?.Pid == Environment.ProcessId) DeviceRecord.Delete(device.Id);
    }

    [LoggerMessage(40, LogLevel.Warning, "asked to end, but {Users}: going on; end their use, then ask again{Otherwise}")]
    private static partial void LogInUse(ILogger log, string users, string otherwise);

    [LoggerMessage(41, LogLevel.Error, "asked to end, but I/O that is under way does not end; its backend may be stuck")]
    private static partial void LogNotIdle(ILogger log);

    [LoggerMessage(42, LogLevel.Error, "{Reason}: going on without the record; after the death of this process its connection will have to be named again")]
    private static partial void LogNotRecorded(ILogger log, string reason);
}
