using System.CommandLine;
using System.Diagnostics;
using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using MuenBlock.Protocol;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Control;
using MuenBlock.Ublk.Queues;

namespace MuenBlock.Ublk.Cli;

/// <summary>The verb <c>upgrade</c>: lets the program on disk serve devices that an older one serves, while they are in use.</summary>
internal static class UpgradeCommand
{
    private static readonly TimeSpan s_look = TimeSpan.FromSeconds(1); // whatever there is to see ends the wait at once

    private static readonly Argument<string> s_id = new("ID") { Description = "The N of /dev/ublkbN, or that path. All devices of its serving process change hands." };

    /// <summary>The verb, for the command line.</summary>
    public static Command Create()
    {
        var command = new Command("upgrade", "Replace the process that serves a block device by this program, while it is in use. Prints the devices' paths, and how long I/O waited. What is not given is as it was for the server before, but for --connect-timeout.") { s_id, RecoverCommand.OtherDisk };
        foreach (Option option in ServingOptions.OfSuccessor.OfBackground) command.Add(option);
        command.SetAction(parsed => (int)Upgrade(parsed));
        return command;
    }

    private static ExitCode Upgrade(ParseResult parsed)
    {
        int id = DeleteCommand.ParseId(parsed.GetRequiredValue(s_id));
        _ = ServingArguments.ReadSuccessor(parsed, record: null);
        using ILoggerFactory logs = LineLog.ToStandardError(LogLevel.Warning);
        using ControlPlane control = ControlPlane.Open(logs.CreateLogger("upgrade"));

        // Nobody's Ctrl-C, or lost terminal, comes between the end of one server and the start of the next.
        using var signals = new TerminationSignals();
        using var hangUp = PosixSignalRegistration.Create(PosixSignal.SIGHUP, static context => context.Cancel = true);
        long start = Stopwatch.GetTimestamp();
        IReadOnlyList<(int Id, WaitingConnection Connection)> released = new ServerRelease(control, RemovalMachine.This).Release(id, connection => Check(parsed, connection));
        var code = ExitCode.Internal;
        try
        {
            var servers = new LaunchedServers();
            foreach ((int first, WaitingConnection connection) in released) servers.Start(RecoverCommand.Arguments(first, connection.Connections, connection.RegionDirectory, parsed));
            code = Await(servers, signals, Console.Error);
        }
        finally
        {
            if (code != ExitCode.Success) Console.Error.WriteLine($"{CommandLine.Program}: the devices that were not taken over wait for a server: 'muenblock-ublk recover --all' gives them one");
        }

        if (code == ExitCode.Success) Console.Out.WriteLine($"I/O waited for {Stopwatch.GetElapsedTime(start).TotalMilliseconds:0} ms");
        return code;
    }

    /// <summary>
    /// Waits for the new servers. A signal that has come since the old one was told to go is obeyed here: it leaves no device without a server any more, as
    /// the new ones go on without this process.
    /// </summary>
    /// <param name="servers">The servers, which have been started.</param>
    /// <param name="signals">The signals.</param>
    /// <param name="errors">Gets a line for a signal.</param>
    internal static ExitCode Await(LaunchedServers servers, TerminationSignals signals, TextWriter errors)
    {
        Task<ExitCode> answers = Task.Run(servers.Await);
        answers.GetAwaiter().OnCompleted(signals.Interrupt);
        while (!answers.IsCompleted)
        {
            if (!signals.Wait(s_look) || answers.IsCompleted) continue;
            errors.WriteLine($"{CommandLine.Program}: asked to end before all devices were taken over: the new servers go on, 'muenblock-ublk list' shows how far they are");
            return ExitCode.Busy;
        }

        return answers.GetAwaiter().GetResult();
    }

    /// <summary>What the new process would refuse must not cost the devices the one that they have.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="connection">What the new process is to serve.</param>
    /// <exception cref="ProgramException">It would refuse that, or find no backend, for which the one that serves goes on waiting.</exception>
    internal static void Check(ParseResult parsed, WaitingConnection connection)
    {
        var serving = ServingArguments.ReadSuccessor(parsed, connection.Record);
        ConnectionOptions.Check(serving.Patience, connection.Devices.Any(info => info.Flags.HasFlag(UblkFeatures.SharedMemoryZeroCopy)));
        if ((serving.LogFile ?? connection.Record?.LogFile) is { } log) BackgroundServer.OpenLog(Path.GetFullPath(log)).Dispose();
        if (ServingArguments.HasConnectTimeout(parsed)) return;
        foreach (ConnectionString member in connection.Connections.Members)
        {
            if (ConnectionRegions.WhyNoBackend(member, connection.RegionDirectory) is not { } why) continue;
            throw new ProgramException(
                ExitCode.Peer,
                $"connection {member.Id} has no backend at this moment ({why}), for which the serving process waits; a new one would give up after {serving.ConnectTimeout.TotalSeconds:0} s: start the backend first, or say how long to wait for it (--connect-timeout)");
        }
    }
}
