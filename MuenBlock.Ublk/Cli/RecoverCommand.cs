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
    /// <param name="giveUp">Whether to wait no longer for what shows only after a while; asked again and again.</param>
    /// <param name="look">What to look for.</param>
    internal static T Waiting<T>(Func<bool> giveUp, Func<RecoveryPlan, T> look)
    {
        using ILoggerFactory logs = LineLog.ToStandardError(LogLevel.Warning);
        using ControlPlane control = ControlPlane.Open(logs.CreateLogger(Verb));
        return look(new RecoveryPlan(control, RemovalMachine.This, giveUp));
    }

    /// <summary>The command line of the process that takes over a connection.</summary>
    /// <param name="id">One of its devices.</param>
    /// <param name="connections">The connection, or joined ones.</param>
    /// <param name="regionDirectory">Where their regions are.</param>
    /// <param name="parsed">A command line that has the options of a successor.</param>
    internal static IReadOnlyList<string> Arguments(int id, QueueConnections connections, string regionDirectory, ParseResult parsed) =>
        [Verb, $"{id}", "--conn", connections.ToString(), "--region-dir", regionDirectory, .. OtherDiskGiven(parsed), .. ServingArguments.Given(parsed)];

    private static string[] OtherDiskGiven(ParseResult parsed) => parsed.GetValue(OtherDisk) ? [OtherDisk.Name] : [];

    /// <summary>Finds the connections of devices, each once. One that is not found does not keep the others from being.</summary>
    /// <param name="ids">The devices.</param>
    /// <param name="find">Finds a device's connection.</param>
    /// <param name="errors">Gets a line for each failure but the last.</param>
    /// <param name="last">The last failure; null without one.</param>
    internal static List<FoundConnection> Find(IEnumerable<int> ids, Func<int, FoundConnection> find, TextWriter errors, out ProgramException? last)
    {
        List<FoundConnection> found = [];
        var fingerprints = new HashSet<uint>();
        last = null;
        foreach (int id in ids)
        {
            try
            {
                FoundConnection connection = find(id);
                if (fingerprints.Add(Ownership.Fingerprint(connection.Connections, connection.RegionDirectory))) found.Add(connection);
            }
            catch (ProgramException failure)
            {
                if (last is not null) Say(last, errors);
                last = failure;
            }
        }

        return found;
    }

    private static void Say(ProgramException failure, TextWriter errors) => errors.WriteLine($"{CommandLine.Program}: {failure.Message}");

    private static ExitCode Recover(ParseResult parsed)
    {
        Targets targets = ReadTargets(parsed);
        bool foreground = ServingArguments.ReadSuccessor(parsed, record: null).Foreground;
        if (BackgroundServer.IsWanted)
        {
            // Devices wait for this process, also if whoever started it is interrupted while it looks for them.
            BackgroundServer.LeaveSession();
            return Serve(parsed, targets.Ids[0], targets.Given, targets.RegionDirectory);
        }

        if (targets.All && DeviceDirectory.Ids().Count == 0) return ExitCode.Success;
        ProgramException? last = null;
        List<FoundConnection> found = Waiting(
            static () => false,
            plan => Find(targets.All ? plan.Candidates() : targets.Ids, id => plan.Find(id, targets.Given, targets.RegionDirectory), Console.Error, out last));
        if (foreground && found.Count > 1)
            throw new ProgramException(ExitCode.Usage, $"--foreground takes over one connection at a time, and {found.Count} wait: name a device instead of --all");
        if (foreground && found.Count == 1)
        {
            // It serves for days, and ends well or not, whatever became of the others that were named.
            if (last is not null) Say(last, Console.Error);
            return Serve(parsed, found[0].Id, found[0].Connections.Members, found[0].RegionDirectory);
        }

        var servers = new LaunchedServers();
        foreach (FoundConnection connection in found) servers.Start(Arguments(connection.Id, connection.Connections, connection.RegionDirectory, parsed));
        ExitCode code = servers.Await();
        return last is null ? code : throw last;
    }

    private static Targets ReadTargets(ParseResult parsed)
    {
        string[] names = parsed.GetValue(s_ids) ?? [];
        bool all = parsed.GetValue(s_all);
        if (all == (names.Length > 0)) throw new ProgramException(ExitCode.Usage, $"name the devices to take over, or give --all: see '{CommandLine.Program} {Verb} --help'");
        int[] ids = [.. names.Select(DeleteCommand.ParseId).Distinct()];
        ConnectionString[] given = [.. (parsed.GetValue(s_connections) ?? []).SelectMany(ConnectionString.ParseList)];
        string? directory = parsed.GetValue(s_regionDirectory);
        if (directory is { Length: 0 }) throw new ProgramException(ExitCode.Usage, "--region-dir is empty: name a directory");
        return new Targets(all, ids, given, directory);
    }

    /// <summary>Is the server of a connection.</summary>
    private static ExitCode Serve(ParseResult parsed, int id, IReadOnlyList<ConnectionString> given, string? directory)
    {
        WaitingConnection waiting = Waiting(static () => false, plan => plan.Of(id, given, directory));
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
            ? ForegroundServer.RunHere(_ => options, serving)
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

    /// <summary>What is to be taken over.</summary>
    /// <param name="All">All that waits.</param>
    /// <param name="Ids">Else these devices.</param>
    /// <param name="Given">Connections that were named.</param>
    /// <param name="RegionDirectory">The region directory that was named, or null.</param>
    private sealed record Targets(bool All, IReadOnlyList<int> Ids, IReadOnlyList<ConnectionString> Given, string? RegionDirectory);
}
