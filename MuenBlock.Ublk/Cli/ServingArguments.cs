using System.CommandLine;
using Microsoft.Extensions.Logging;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Signals;
using MuenBlock.Ublk.Control;
using MuenBlock.Ublk.Queues;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Cli;

/// <summary>
/// How a process serves, whichever verb made it a server. What was said to one that died is in the devices' records, and holds for its
/// successor where that is not told otherwise.
/// </summary>
internal sealed class ServingArguments
{
    private const string NoIoTimeout = "none"; // takes back what a predecessor was told
    private const double LeastIoTimeoutSeconds = 0.1; // a server may be kept from its CPU for so long by anything

    private static readonly Option<string> s_eventDirectory = CommonOptions.EventDirectoryOption();
    private static readonly Option<string> s_wait = CommonOptions.WaitOption();
    private static readonly Option<string> s_spin = CommonOptions.SpinOption();
    private static readonly Option<string> s_cpus = CommonOptions.CpusOption(hasQueues: true);
    private static readonly Option<string> s_stallWarning = CommonOptions.StallWarningOption();
    private static readonly Option<string> s_sandbox = CommonOptions.SandboxOption();
    private static readonly Option<string> s_logLevel = CommonOptions.LogLevelOption();

    private static readonly Option<string> s_ioTimeout = new("--io-timeout")
    {
        Description = "Let I/O fail if the server has not answered for so long, until it answers again. Default, and none: wait for ever.",
        HelpName = "SECONDS|none",
    };

    private static readonly Option<string> s_connectTimeout = new("--connect-timeout")
    {
        Description = "How long the server may take to appear, in seconds.",
        HelpName = "SECONDS",
        DefaultValueFactory = _ => "10",
    };

    private static readonly Option<bool> s_foreground = new("--foreground") { Description = "Serve in this process and log to standard error." };

    private static readonly Option<string> s_logFile = new("--log-file")
    {
        Description = $"Where the serving process logs. Default: a file in {DeviceRecord.Directory}, which goes if the process ends well; of recover and upgrade the log of the server before.",
        HelpName = "FILE",
    };

    // What a successor goes on with, beside the directory of events. A time-out and a log are chosen anew.
    private static readonly Option[] s_recorded = [s_ioTimeout, s_wait, s_spin, s_cpus, s_stallWarning, s_sandbox, s_logLevel];

    // As they were asked for, but for the CPUs.
    private readonly IReadOnlyList<string> _recorded;

    private ServingArguments(IReadOnlyList<string> recorded) => _recorded = recorded;

    /// <summary>The options, for the verbs that have them.</summary>
    public static IReadOnlyList<Option> Options { get; } = [s_connectTimeout, s_ioTimeout, s_foreground, s_logFile, s_eventDirectory, s_wait, s_spin, s_cpus, s_stallWarning, s_sandbox, s_logLevel];

    /// <summary>Where the events of channels are; null if there are none.</summary>
    public required string? EventDirectory { get; init; }

    /// <summary>Those of the options that a process has which serves in the background whatever is said.</summary>
    public static IEnumerable<Option> Taken => Options.Where(option => option != s_foreground);

    /// <summary>How the server is waited for.</summary>
    public required WaitMode Wait { get; init; }

    /// <summary>How long to look for work before sleeping.</summary>
    public required TimeSpan Spin { get; init; }

    /// <summary>On which CPUs the connections' threads run.</summary>
    public required CpuChoice Cpus { get; init; }

    /// <summary>How long I/O may take.</summary>
    public required Patience Patience { get; init; }

    /// <summary>Whether to give up what serving does not need.</summary>
    public required bool Sandbox { get; init; }

    /// <summary>The least severe lines that are logged.</summary>
    public required LogLevel LogLevel { get; init; }

    /// <summary>How long the server may take to appear.</summary>
    public required TimeSpan ConnectTimeout { get; init; }

    /// <summary>Whether this process is the server.</summary>
    public required bool Foreground { get; init; }

    /// <summary>Where a server in the background logs; null where nobody named a file.</summary>
    public required string? LogFile { get; init; }

    /// <summary>Reads the options.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="record">What a predecessor recorded; null without one.</param>
    /// <exception cref="ProgramException">A value is out of its range.</exception>
    public static ServingArguments Read(ParseResult parsed, DeviceRecord? record = null)
    {
        var predecessor = new Command("predecessor");
        foreach (Option option in s_recorded) predecessor.Add(option);
        ParseResult before = predecessor.Parse((record?.Options ?? string.Empty).Split(' ', StringSplitOptions.RemoveEmptyEntries));
        bool usable = before.Errors.Count == 0;
        string? ioTimeout = SourceOf(s_ioTimeout).GetValue(s_ioTimeout);
        if (ioTimeout == NoIoTimeout) ioTimeout = null;

        return new ServingArguments([.. s_recorded.Where(option => option != s_cpus && (option != s_ioTimeout || ioTimeout is not null)).SelectMany(option => Tokens(SourceOf(option), option))])
        {
            EventDirectory = CommonOptions.ParseEventDirectory(parsed.GetValue(s_eventDirectory) ?? (Directory.Exists(record?.EventDirectory) ? record.EventDirectory : null)),
            Wait = CommonOptions.ParseWait(Value(s_wait)),
            Spin = CommonOptions.ParseSpin(Value(s_spin)),
            Cpus = CpuChoice.Parse(Value(s_cpus), hasQueues: true),
            Patience = ParsePatience(ioTimeout, Value(s_stallWarning)),
            Sandbox = CommonOptions.ParseSandbox(Value(s_sandbox)),
            LogLevel = CommonOptions.ParseLogLevel(Value(s_logLevel)),
            ConnectTimeout = CommonOptions.ParseSeconds("--connect-timeout", parsed.GetRequiredValue(s_connectTimeout)),
            Foreground = parsed.GetValue(s_foreground),
            LogFile = parsed.GetValue(s_logFile),
        };

        ParseResult SourceOf(Option option) => usable && !IsGiven(parsed, option) && IsGiven(before, option) ? before : parsed;

        T Value<T>(Option<T> option) => SourceOf(option).GetRequiredValue(option);
    }

    /// <summary>The options as they were given, for another process.</summary>
    /// <param name="parsed">The command line.</param>
    public static IReadOnlyList<string> Given(ParseResult parsed) => [.. Options.SelectMany(option => Tokens(parsed, option))];

    /// <summary>How a connection is used.</summary>
    /// <param name="unit">What its offsets count.</param>
    public ConnectionOptions Serving(OffsetUnit unit) => new(unit, Wait, Spin, Patience) { EventDirectory = EventDirectory, Cpus = Cpus };

    /// <summary>What was asked for, for the records of devices. Each of several connections gets a successor of its own, so that a list of CPUs is the connection's alone.</summary>
    /// <param name="cpus">The CPUs of the devices' connections.</param>
    public string Recorded(CpuChoice cpus) => string.Join(' ', cpus.IsAny ? _recorded : [.. _recorded, s_cpus.Name, $"{cpus}"]);

    private static bool IsGiven(ParseResult parsed, Option option) => parsed.GetResult(option) is { Implicit: false };

    private static IEnumerable<string> Tokens(ParseResult parsed, Option option) =>
        parsed.GetResult(option) is { Implicit: false } result ? [option.Name, .. result.Tokens.Select(token => token.Value)] : [];

    private static Patience ParsePatience(string? ioTimeout, string stallWarning)
    {
        long fail = ioTimeout is null ? long.MaxValue : (long)CommonOptions.ParseSeconds("--io-timeout", ioTimeout, LeastIoTimeoutSeconds).TotalMilliseconds;
        return new Patience(fail, CommonOptions.ParseStallWarning(stallWarning));
    }
}
