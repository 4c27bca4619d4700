using System.CommandLine;
using System.Globalization;
using Microsoft.Extensions.Logging;
using MuenBlock.Protocol;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using MuenBlock.Ublk.Control;
using MuenBlock.Ublk.Queues;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Cli;

/// <summary>The verb <c>add</c>: makes block devices of a connection's devices and serves them, in a process of their own.</summary>
internal static class AddCommand
{
    private const int LargestId = (1 << 20) - 1; // minor numbers, ublk.h

    private static readonly Option<string[]> s_connections = CommonOptions.Connections();
    private static readonly Option<string> s_regionDirectory = CommonOptions.RegionDirectoryOption();

    private static readonly Option<int?> s_id = new("--id")
    {
        Description = "The N of /dev/ublkbN; with several devices the first one's. Default: one that is free.",
        HelpName = "N",
    };

    private static readonly Option<int?> s_depth = new("--depth")
    {
        Description = $"Requests in flight per device. Default: {BufferLayout.StandardDepth}, or fewer if the buffer is small.",
        HelpName = "N",
    };

    private static readonly Option<string> s_maxIo = new("--max-io")
    {
        Description = "The largest I/O in bytes (K and M may follow), a multiple of 4096. Default: as the buffer allows, at most 1M.",
        HelpName = "BYTES",
    };

    private static readonly Option<bool> s_readOnly = new("--read-only") { Description = "Make read-only devices, even if the server would let them be written." };

    private static readonly Option<string> s_connectTimeout = new("--connect-timeout")
    {
        Description = "How long the server may take to appear, in seconds.",
        HelpName = "SECONDS",
        DefaultValueFactory = _ => "10",
    };

    private static readonly Option<string> s_ioTimeout = new("--io-timeout")
    {
        Description = "Let I/O fail if the server has not answered for so long, until it answers again. Default: wait for ever.",
        HelpName = "SECONDS",
    };

    private static readonly Option<bool> s_foreground = new("--foreground") { Description = "Serve in this process, log to standard error, and delete the devices at SIGTERM." };

    private static readonly Option<string> s_logFile = new("--log-file")
    {
        Description = $"Where the serving process logs. Default: a file in {DeviceRecord.Directory}, which goes when the devices are deleted.",
        HelpName = "FILE",
    };

    private static readonly Option<string> s_offsetUnit = CommonOptions.OffsetUnitOption();
    private static readonly Option<string> s_wait = CommonOptions.WaitOption();
    private static readonly Option<int> s_spin = CommonOptions.SpinOption();
    private static readonly Option<string> s_stallWarning = CommonOptions.StallWarningOption();
    private static readonly Option<string> s_sandbox = CommonOptions.SandboxOption();
    private static readonly Option<string> s_logLevel = CommonOptions.LogLevelOption();

    /// <summary>The verb, for the command line.</summary>
    /// <param name="arguments">The program's arguments, for the process that serves in the background.</param>
    public static Command Create(IReadOnlyList<string> arguments)
    {
        var command = new Command("add", "Make block devices of the devices that a connection's backend exports, print their paths, and leave a process serving them.")
        {
            s_connections, s_regionDirectory, s_id, s_depth, s_maxIo, s_readOnly, s_connectTimeout, s_ioTimeout,
            s_foreground, s_logFile, s_offsetUnit, s_wait, s_spin, s_stallWarning, s_sandbox, s_logLevel,
        };
        command.SetAction(parsed => (int)Add(parsed, arguments));
        return command;
    }

    private static ExitCode Add(ParseResult parsed, IReadOnlyList<string> arguments)
    {
        // Everything is checked before a process is started for it.
        IReadOnlyList<ServerOptions> options = Read(parsed);
        LogLevel level = CommonOptions.ParseLogLevel(parsed.GetRequiredValue(s_logLevel));
        bool sandbox = CommonOptions.ParseSandbox(parsed.GetRequiredValue(s_sandbox));
        string? logFile = parsed.GetValue(s_logFile);
        if (parsed.GetValue(s_foreground))
        {
            using ILoggerFactory factory = LineLog.ToStandardError(level);
            using var signals = new TerminationSignals();
            return new ForegroundServer(options, factory.CreateLogger("add"), logFile: null, sandbox).Run(signals, static () => { });
        }

        return BackgroundServer.IsWanted ? BackgroundServer.Serve(options, level, logFile, sandbox) : BackgroundServer.Launch(arguments);
    }

    private static IReadOnlyList<ServerOptions> Read(ParseResult parsed)
    {
        IReadOnlyList<ConnectionString> connections = [.. parsed.GetRequiredValue(s_connections).SelectMany(ConnectionString.ParseList)];
        string directory = parsed.GetValue(s_regionDirectory) ?? RegionDirectory.Default();
        if (directory.Length == 0) throw Refuse("--region-dir is empty: name a directory");
        if (connections.DistinctBy(connection => connection.Id).Count() != connections.Count) throw Refuse("a connection id is used twice");
        if (connections.SelectMany(connection => new[] { connection.Request, connection.Response, connection.Buffer }).GroupBy(name => name, StringComparer.Ordinal).Any(group => group.Count() > 1))
            throw Refuse("a region is used by two connections");

        int? id = parsed.GetValue(s_id);
        if (id is < 0 or > LargestId) throw Refuse($"--id {id} is out of range: 0 to {LargestId}");
        if (id is not null && connections.Count > 1) throw Refuse("--id needs a single --conn: how many devices a connection has is known only later");
        int? depth = parsed.GetValue(s_depth);
        if (depth is < 1 or > BufferLayout.DeepestQueue) throw Refuse($"--depth {depth} is out of range: 1 to {BufferLayout.DeepestQueue}");
        TimeSpan timeout = CommonOptions.ParseSeconds("--connect-timeout", parsed.GetRequiredValue(s_connectTimeout));
        var serving = new ConnectionOptions(
            CommonOptions.ParseOffsetUnit(parsed.GetRequiredValue(s_offsetUnit)),
            CommonOptions.ParseWait(parsed.GetRequiredValue(s_wait)),
            CommonOptions.ParseSpin(parsed.GetValue(s_spin)),
            ParsePatience(parsed.GetValue(s_ioTimeout), parsed.GetRequiredValue(s_stallWarning)));
        return
        [
            .. connections.Select(connection => new ServerOptions
            {
                Connection = connection,
                RegionDirectory = Path.GetFullPath(directory),
                Id = id ?? -1,
                Depth = depth,
                LargestIo = ParseSize(parsed.GetValue(s_maxIo)),
                ReadOnly = parsed.GetValue(s_readOnly),
                ConnectTimeout = timeout,
                Serving = serving,
            }),
        ];
    }

    private static Patience ParsePatience(string? ioTimeout, string stallWarning)
    {
        const double least = 0.1; // a server may be kept from its CPU for so long by anything
        long fail = ioTimeout is null ? long.MaxValue : (long)CommonOptions.ParseSeconds("--io-timeout", ioTimeout, least).TotalMilliseconds;
        return new Patience(fail, CommonOptions.ParseStallWarning(stallWarning));
    }

    private static uint? ParseSize(string? text)
    {
        if (text is null) return null;
        uint unit = text.EndsWith('K') ? 1u << 10 : text.EndsWith('M') ? 1u << 20 : 1;
        string digits = unit == 1 ? text : text[..^1];
        bool isNumber = ulong.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out ulong number) && number <= uint.MaxValue;
        ulong size = isNumber ? number * unit : 0;
        return size is >= BufferLayout.SmallestIo and <= BufferLayout.LargestIo && size % BufferLayout.SmallestIo == 0
            ? (uint)size
            : throw Refuse($"--max-io {text} is not a size: a multiple of 4096 from 4K to 32M");
    }

    private static ProgramException Refuse(string why) => new(ExitCode.Usage, why);
}
