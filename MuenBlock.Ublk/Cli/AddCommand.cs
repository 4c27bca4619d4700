using System.CommandLine;
using System.Globalization;
using MuenBlock.Protocol;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using MuenBlock.Ublk.Control;
using MuenBlock.Ublk.Queues;

namespace MuenBlock.Ublk.Cli;

/// <summary>The verb <c>add</c>: makes block devices of a connection's devices and serves them, in a process of their own.</summary>
internal static class AddCommand
{
    private static readonly Option<string[]> s_connections = CommonOptions.Connections();
    private static readonly Option<string> s_regionDirectory = CommonOptions.RegionDirectoryOption();

    private static readonly Option<bool> s_join = new("--join")
    {
        Description = "Make one block device of what all the connections export, with a hardware queue for each connection. They have to export the same devices: --device /dev/sda:1+2 at the backend.",
    };

    private static readonly Option<int?> s_id = new("--id")
    {
        Description = "The N of /dev/ublkbN; with several devices the first one's. Default: one that is free.",
        HelpName = "N",
    };

    private static readonly Option<int?> s_depth = new("--depth")
    {
        Description = $"Requests in flight per device, and per connection with --join. Default: {BufferLayout.StandardDepth}, or fewer if the buffer is small.",
        HelpName = "N",
    };

    private static readonly Option<string> s_maxIo = new("--max-io")
    {
        Description = "The largest I/O in bytes (K and M may follow), a multiple of 4096. Default: as the buffer allows, at most 1M.",
        HelpName = "BYTES",
    };

    private static readonly Option<string> s_applicationMemory = new("--app-memory")
    {
        Description = "Leave the last BYTES of the buffer (K and M may follow) to applications that map it: their O_DIRECT I/O from and to it is not copied. 'list --json' tells them where it is.",
        HelpName = "BYTES",
    };

    private static readonly Option<bool> s_readOnly = new("--read-only") { Description = "Make read-only devices, even if the backend would let them be written." };

    private static readonly Option<bool> s_recover = new("--recover")
    {
        Description = "Take over the connection's devices where they wait for a server, instead of adding them. For a service manager, which starts the same command again.",
    };

    private static readonly Option<string> s_batch = CommonOptions.Choice(
        "--batch", "off", "Whether the driver hands over requests in batches (BATCH_IO, Linux 7.0): where it can, always, or never.", "auto", "on", "off");

    private static readonly Option<string> s_offsetUnit = CommonOptions.OffsetUnitOption();

    /// <summary>The verb, for the command line.</summary>
    /// <param name="arguments">The program's arguments, for the process that serves in the background.</param>
    public static Command Create(IReadOnlyList<string> arguments)
    {
        var command = new Command("add", "Make block devices of the devices that a connection's backend exports, print their paths, and leave a process serving them.")
        {
            s_connections, s_join, s_regionDirectory, s_id, s_depth, s_maxIo, s_applicationMemory, s_readOnly, s_batch, s_recover, s_offsetUnit,
        };
        foreach (Option option in ServingOptions.OfFirst.All) command.Add(option);
        command.SetAction(parsed => (int)Add(parsed, arguments));
        return command;
    }

    private static ExitCode Add(ParseResult parsed, IReadOnlyList<string> arguments)
    {
        // Everything is checked before a process is started for it.
        var serving = ServingArguments.Read(parsed);
        IReadOnlyList<ServerOptions> options = Read(parsed, serving);
        bool recovers = parsed.GetValue(s_recover);
        if (serving.Foreground) return ForegroundServer.RunHere(giveUp => Prepare(options, recovers, giveUp), serving);
        return BackgroundServer.IsWanted ? BackgroundServer.Serve(() => Prepare(options, recovers, static () => false), serving, serving.LogFile) : BackgroundServer.Launch(arguments);
    }

    private static IReadOnlyList<ServerOptions> Prepare(IReadOnlyList<ServerOptions> options, bool recovers, Func<bool> giveUp) =>
        recovers ? RecoverCommand.Waiting(giveUp, plan => (ServerOptions[])[.. options.Select(connection => OrWaiting(connection, plan))]) : options;

    private static ServerOptions OrWaiting(ServerOptions options, RecoveryPlan plan) =>
        plan.Of(options.Connections, options.RegionDirectory) is { } waiting
            ? new ServerOptions
            {
                Connections = waiting.Connections,
                RegionDirectory = waiting.RegionDirectory,
                Waiting = waiting.Devices,
                ConnectTimeout = options.ConnectTimeout,
                Serving = options.Serving with { OffsetUnit = waiting.Unit },
                Recorded = options.Recorded,
            }
            : options;

    /// <summary>Reads what to serve.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="serving">How to serve.</param>
    /// <returns>One for each connection, or one for all that are joined.</returns>
    /// <exception cref="ProgramException">A value is wrong, or two exclude each other.</exception>
    internal static IReadOnlyList<ServerOptions> Read(ParseResult parsed, ServingArguments serving)
    {
        IReadOnlyList<ConnectionString> connections = [.. parsed.GetRequiredValue(s_connections).SelectMany(ConnectionString.ParseList)];
        string directory = parsed.GetValue(s_regionDirectory) ?? RegionDirectory.Default();
        if (directory.Length == 0) throw Refuse("--region-dir is empty: name a directory");
        if (connections.GroupBy(connection => connection.Id).FirstOrDefault(group => group.Count() > 1) is { } twice)
            throw Refuse($"connection id {twice.Key} is used twice: give each connection a number of its own");
        if (connections.SelectMany(connection => new[] { connection.Request, connection.Response, connection.Buffer }).GroupBy(name => name, StringComparer.Ordinal).FirstOrDefault(group => group.Count() > 1) is { } shared)
            throw Refuse($"region '{shared.Key}' is used by two connections: give each connection three regions of its own");

        int? id = parsed.GetValue(s_id);
        if (id is < 0 or > UblkLimits.LargestId) throw Refuse($"--id {id} is out of range: 0 to {UblkLimits.LargestId}");
        bool join = parsed.GetValue(s_join);
        if (join && connections.Count == 1) throw Refuse("--join needs several --conn: one connection is one queue");
        if (connections.Count > UblkLimits.MostQueues) throw Refuse($"{connections.Count} connections are too many: {UblkLimits.MostQueues} are the most");
        if (id is not null && connections.Count > 1 && !join) throw Refuse("--id needs a single --conn, or --join: how many devices a connection has is known only later");
        int? depth = parsed.GetValue(s_depth);
        if (depth is < 1 or > UblkLimits.DeepestQueue) throw Refuse($"--depth {depth} is out of range: 1 to {UblkLimits.DeepestQueue}");
        ulong applicationMemory = ParseApplicationMemory(parsed.GetValue(s_applicationMemory));
        if (applicationMemory > 0 && join) throw Refuse("--join and --app-memory exclude each other: each of joined connections has a buffer of its own");
        ConnectionOptions.Check(serving.Patience, applicationMemory > 0);
        OffsetUnit unit = CommonOptions.ParseOffsetUnit(parsed.GetRequiredValue(s_offsetUnit));
        IReadOnlyList<IReadOnlyList<ConnectionString>> servers = join ? [connections] : [.. connections.Select(connection => (IReadOnlyList<ConnectionString>)[connection])];
        return [.. servers.Select((members, index) => Of(members, serving.Cpus.Share(index, servers.Count)))];

        ServerOptions Of(IReadOnlyList<ConnectionString> members, CpuChoice cpus) => new()
        {
            Connections = new QueueConnections(members),
            RegionDirectory = RegionDirectory.Resolve(directory),
            Id = id ?? -1,
            Depth = depth,
            LargestIo = ParseSize(parsed.GetValue(s_maxIo)),
            ApplicationMemory = applicationMemory,
            ReadOnly = parsed.GetValue(s_readOnly),
            Batch = parsed.GetRequiredValue(s_batch) switch { "on" => true, "off" => false, _ => null },
            ConnectTimeout = serving.ConnectTimeout,
            Serving = serving.Serving(unit) with { Cpus = cpus },
            Recorded = serving.Recorded(cpus),
        };
    }

    private static uint? ParseSize(string? text)
    {
        if (text is null) return null;
        ulong size = ParseBytes(text);
        return size is >= BufferLayout.SmallestIo and <= BufferLayout.LargestIo && size % BufferLayout.SmallestIo == 0
            ? (uint)size
            : throw Refuse($"--max-io {text} is not a size: a multiple of 4096 from 4K to 32M");
    }

    private static ulong ParseApplicationMemory(string? text)
    {
        const ulong most = 4ul << 30; // of a registration (ublk_drv.c)
        if (text is null) return 0;
        ulong size = ParseBytes(text);
        return size is > 0 and <= most && size % BufferLayout.SmallestIo == 0
            ? size
            : throw Refuse($"--app-memory {text} is not a size: a multiple of 4096 from 4K to 4096M");
    }

    /// <summary>A number of bytes, or of as many as the letter behind it says; 0 if it is none.</summary>
    private static ulong ParseBytes(string text)
    {
        uint unit = text.EndsWith('K') ? 1u << 10 : text.EndsWith('M') ? 1u << 20 : 1;
        string digits = unit == 1 ? text : text[..^1];
        bool isNumber = ulong.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out ulong number) && number <= uint.MaxValue;
        return isNumber ? number * unit : 0;
    }

    private static ProgramException Refuse(string why) => new(ExitCode.Usage, why);
}
