using Microsoft.Extensions.Logging;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using MuenBlock.Protocol.Sandboxing;
using MuenBlock.Ublk.Control;
using MuenBlock.Ublk.Queues;

namespace MuenBlock.Ublk.Cli;

/// <summary>A process's life as the server of block devices, from the first greeting until the last device is gone.</summary>
/// <param name="connections">The connections.</param>
/// <param name="log">Where to log.</param>
/// <param name="logFile">The file that is logged to and that goes with the last device; null if there is none.</param>
/// <param name="sandbox">Whether to give up what serving does not need.</param>
internal sealed partial class ForegroundServer(IReadOnlyList<ServerOptions> connections, ILogger log, string? logFile, bool sandbox)
{
    private readonly List<DeviceServer> _servers = [];

    /// <summary>Serves until every device has been deleted, or a signal comes while none is in use.</summary>
    /// <param name="signals">The signals.</param>
    /// <param name="ready">Called once, when the devices can be used and their paths were printed.</param>
    public ExitCode Run(TerminationSignals signals, Action ready)
    {
        Privileges.NeverGain();
        try
        {
            var files = new RegionFiles(log);
            foreach (ServerOptions options in connections)
            {
                DeviceServer server = DeviceServer.Start(options, files, log, signals.Interrupt);
                _servers.Add(server);
                foreach (BlockDevice device in server.Devices) Record(options, device).Save();
            }

            if (sandbox) Sandbox.EnterAsBlockServer();
            foreach (BlockDevice device in _servers.SelectMany(server => server.Devices)) Console.Out.WriteLine(device.Path);
            Console.Out.Flush();
            ready();
            WaitForTheEnd(signals);
            return _servers.Any(server => server.Failure is not null) ? ExitCode.Internal : ExitCode.Success;
        }
        finally
        {
            foreach (DeviceServer server in _servers)
            {
                server.Dispose();
                foreach (BlockDevice device in server.Devices) DeleteRecord(device.Id);
            }
        }
    }

    private void WaitForTheEnd(TerminationSignals signals)
    {
        while (!_servers.TrueForAll(server => server.Ended))
        {
            bool asked = signals.Wait(RegionSet.LookInterval);
            foreach (DeviceServer server in _servers) server.LookAtRegions();
            if (!asked) continue;
            string[] users = [.. _servers.SelectMany(server => server.Users())];
            if (users.Length == 0) return;

            // Whoever uses a device would lose what it wrote. A program that must go at once is killed, and knows what it does.
            LogInUse(log, string.Join("; ", users));
        }
    }

    /// <summary>Once a device is gone its id may be another server's, and the record with it.</summary>
    private static void DeleteRecord(int id)
    {
        if (DeviceRecord.TryLoad(id)?.Pid == Environment.ProcessId) DeviceRecord.Delete(id);
    }

    private DeviceRecord Record(ServerOptions options, BlockDevice device) => new()
    {
        Id = device.Id,
        Path = device.Path,
        Pid = Environment.ProcessId,
        Connection = options.Connection.ToString(),
        RegionDirectory = options.RegionDirectory,
        DeviceIndex = device.Queue.Device,
        LogFile = logFile,
        Started = DateTimeOffset.UtcNow,
    };

    [LoggerMessage(40, LogLevel.Warning, "asked to end, but {Users}: going on; end their use, then ask again")]
    private static partial void LogInUse(ILogger log, string users);
}
