using System.CommandLine;
using Microsoft.Extensions.Logging;
using MuenBlock.Protocol;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using MuenBlock.Ublk.Control;
using MuenBlock.Ublk.Queues;

namespace MuenBlock.Ublk.Cli;

/// <summary>
/// The verb <c>recover</c>: serves block devices again whose server has died. Each connection gets a process of its own, so that one whose
/// backend is missing does not hold up the others.
/// </summary>
internal static class RecoverCommand
{
    private const string Verb = "recover";

    private static readonly Argument<string[]> s_ids = new("ID") { Description = "The N of /dev/ublkbN, or that path; all devices of its connection are taken over. May repeat.", Arity = ArgumentArity.ZeroOrMore };
    private static readonly Option<bool> s_all = new("--all") { Description = "Take over every device of muenblock-ublk that has lost its server." };
    private static readonly Option<string[]> s_connections = MakeConnections();
    private static readonly Option<string> s_regionDirectory = MakeRegionDirectory();

    /// <summary>--other-disk, which <c>upgrade</c> has as well.</summary>
    public static Option<bool> OtherDisk { get; } = new("--other-disk")
    {
        Description = "Take the devices over although the backend's disk is not the one that they were made of: it has the same contents, such as a copy. Or although it is read-only now: what waits to be written fails.",
    };

    /// <summary>The verb, for the command line.</summary>
    public static Command Create()
    {
        var command = new Command(Verb, "Serve block devices again whose server has died or was told to leave, and print their paths. Their users have been waiting and see no error. What is not given is as it was for the server before, but for --connect-timeout.")
        {
            s_ids, s_all, s_connections, s_regionDirectory, OtherDisk,
        };
        foreach (Option option in ServingOptions.OfSuccessor.All) command.Add(option);
        command.SetAction(parsed => (int)Recover(parsed));
        return command;
    }

    /// <summary>Looks for devices that wait.</summary>
    /// <param name="look">What to look for.</param>
    internal static T Waiting<T>(Func<RecoveryPlan, T> look)
    {
        using ILoggerFactory logs = LineLog.ToStandardError(LogLevel.Warning);
        using ControlPlane control = ControlPlane.Open(logs.CreateLogger(Verb));
        return look(new RecoveryPlan(control, RemovalMachine.This));
    }

    /// <summary>The command line of the process that takes over a connection.</summary>
    /// <param name="id">One of its devices.</param>
    /// <param name="connection">The connection.</param>
    /// <param name="parsed">A command line that has the options of a successor.</param>
    internal static IReadOnlyList<string> Arguments(int id, WaitingConnection connection, ParseResult parsed) =>
        [Verb, $"{id}", "--conn", connection.Connections.ToString(), "--region-dir", connection.RegionDirectory, .. OtherDiskGiven(parsed), .. ServingArguments.Given(parsed)];

    private static string[] OtherDiskGiven(ParseResult parsed) => parsed.GetValue(OtherDisk) ? [OtherDisk.Name] : [];

    /// <summary>Takes over connections one after the other. One that cannot be taken over does not keep the others from being.</summary>
    /// <param name="ids">The devices.</param>
    /// <param name="find">Finds a device's connection.</param>
    /// <param name="serve">Takes over a connection.</param>
    /// <param name="errors">Gets a line for each failure but the last, which is thrown.</param>
    internal static ExitCode Recover(IEnumerable<int> ids, Func<int, WaitingConnection> find, Func<int, WaitingConnection, ExitCode> serve, TextWriter errors)
    {
        var done = new HashSet<int>();
        var code = ExitCode.Success;
        ProgramException? failure = null;
        foreach (int id in ids)
        {
            if (done.Contains(id)) continue;
            try
            {
                WaitingConnection connection = find(id);
                done.UnionWith(connection.Devices.Select(info => (int)info.DeviceId));
                ExitCode ended = serve(id, connection);
                if (ended != ExitCode.Success) code = ended;
            }
            catch (ProgramException e)
            {
                if (failure is not null) errors.WriteLine($"{CommandLine.Program}: {failure.Message}");
                failure = e;
            }
        }

        return failure is null ? code : throw failure;
    }

    private static ExitCode Recover(ParseResult parsed)
    {
        string[] names = parsed.GetValue(s_ids) ?? [];
        bool all = parsed.GetValue(s_all);
        if (all == (names.Length > 0)) throw new ProgramException(ExitCode.Usage, $"name the devices to take over, or give --all: see '{CommandLine.Program} {Verb} --help'");
        int[] ids = [.. names.Select(DeleteCommand.ParseId).Distinct()];
        ConnectionString[] given = [.. (parsed.GetValue(s_connections) ?? []).SelectMany(ConnectionString.ParseList)];
        string? directory = parsed.GetValue(s_regionDirectory);
        if (directory is { Length: 0 }) throw new ProgramException(ExitCode.Usage, "--region-dir is empty: name a directory");
        var serving = ServingArguments.ReadSuccessor(parsed, record: null);
        if (BackgroundServer.IsWanted)
        {
            // Devices wait for this process, also if whoever started it is interrupted while it looks for them.
            BackgroundServer.LeaveSession();
            return Serve(parsed, ids[0], given, directory);
        }

        if (all && DeviceDirectory.Ids().Count == 0) return ExitCode.Success;

        List<(int Id, WaitingConnection Connection)> found = [];
        ProgramException? failure = null;
        try
        {
            Waiting(plan =>
            {
                if (all) ids = [.. plan.Candidates()];
                return Recover(ids, id => plan.Of(id, given, directory), (id, connection) => Note(id, connection), Console.Error);
            });
        }
        catch (ProgramException e)
        {
            failure = e;
        }

        var code = ExitCode.Success;
        if (serving.Foreground && found.Count > 1)
            throw new ProgramException(ExitCode.Usage, $"--foreground takes over one connection at a time, and {found.Count} wait: name a device instead of --all");
        if (serving.Foreground)
        {
            foreach ((int id, WaitingConnection connection) in found) code = Serve(parsed, id, connection.Connections.Members, connection.RegionDirectory);
        }
        else
        {
            var servers = new LaunchedServers();
            foreach ((int id, WaitingConnection connection) in found) servers.Start(Arguments(id, connection, parsed));
            code = servers.Await();
        }

        return failure is null ? code : throw failure;

        ExitCode Note(int id, WaitingConnection connection)
        {
            found.Add((id, connection));
            return ExitCode.Success;
        }
    }

    /// <summary>Is the server of a connection.</summary>
    private static ExitCode Serve(ParseResult parsed, int id, IReadOnlyList<ConnectionString> given, string? directory)
    {
        WaitingConnection waiting = Waiting(plan => plan.Of(id, given, directory));
        var serving = ServingArguments.ReadSuccessor(parsed, waiting.Record);
        if (serving.LostCpus.Count > 0)
        {
            Console.Error.WriteLine(
                $"{CommandLine.Program}: of the CPUs of the server before (--cpus) this process may not use {CpuChoice.Describe(serving.LostCpus)}: going on with {(serving.Cpus.IsAny ? "any" : $"{serving.Cpus}")}");
        }

        ServerOptions[] options =
        [
            new ServerOptions
            {
                Connections = waiting.Connections,
                RegionDirectory = waiting.RegionDirectory,
                Waiting = waiting.Devices,
                AcceptsOtherDisks = parsed.GetValue(OtherDisk),
                ConnectTimeout = serving.ConnectTimeout,
                Serving = serving.Serving(waiting.Unit),
                Recorded = serving.Recorded(serving.Cpus),
            },
        ];
        return serving.Foreground
            ? ForegroundServer.RunHere(() => options, serving)
            : BackgroundServer.Serve(() => options, serving, serving.LogFile ?? waiting.Record?.LogFile);
    }

    private static Option<string> MakeRegionDirectory()
    {
        Option<string> option = CommonOptions.RegionDirectoryOption();
        option.Description = $"The directory with the connection's regions, where the devices' records are lost. Default then: {RegionDirectory.Muen} where that is mounted, else {RegionDirectory.SharedMemory}.";
        return option;
    }

    private static Option<string[]> MakeConnections()
    {
        Option<string[]> option = CommonOptions.Connections();
        option.Required = false;
        option.Description = "The connection that the devices were added with, where their records are lost; of a joined device all of them, one after another. May repeat, or hold several separated by commas.";
        return option;
    }
}
