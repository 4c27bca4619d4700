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

    // As they were asked for, but for the CPUs.
    private readonly IReadOnlyList<string> _recorded;

    private ServingArguments(IReadOnlyList<string> recorded) => _recorded = recorded;

    /// <summary>Where the events of channels are; null if there are none.</summary>
    public required string? EventDirectory { get; init; }

    /// <summary>How the backend is waited for.</summary>
    public required WaitMode Wait { get; init; }

    /// <summary>How long to look for work before sleeping.</summary>
    public required TimeSpan Spin { get; init; }

    /// <summary>On which CPUs the connections' threads run.</summary>
    public required CpuChoice Cpus { get; init; }

    /// <summary>CPUs that a predecessor was told, and that this process may not use.</summary>
    public required IReadOnlyList<int> LostCpus { get; init; }

    /// <summary>How long I/O may take.</summary>
    public required Patience Patience { get; init; }

    /// <summary>Whether to give up what serving does not need.</summary>
    public required bool Sandbox { get; init; }

    /// <summary>The least severe lines that are logged.</summary>
    public required LogLevel LogLevel { get; init; }

    /// <summary>How long the backend may take to appear.</summary>
    public required TimeSpan ConnectTimeout { get; init; }

    /// <summary>Whether this process is the server.</summary>
    public required bool Foreground { get; init; }

    /// <summary>Where a server in the background logs; null where nobody named a file.</summary>
    public required string? LogFile { get; init; }

    /// <summary>Whether it was said how long the backend of a successor may take to appear.</summary>
    /// <param name="parsed">The command line.</param>
    public static bool HasConnectTimeout(ParseResult parsed) => IsGiven(parsed, ServingOptions.OfSuccessor.ConnectTimeout);

    /// <summary>Reads the options of <c>add</c>.</summary>
    /// <param name="parsed">The command line.</param>
    /// <exception cref="ProgramException">A value is out of its range, or two options exclude each other.</exception>
    public static ServingArguments Read(ParseResult parsed) => Read(parsed, ServingOptions.OfFirst, record: null);

    /// <summary>Reads the options of a successor. What is not given is as a predecessor recorded it.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="record">The record; null without one, or before it is known which.</param>
    /// <exception cref="ProgramException">A value is out of its range, or two options exclude each other.</exception>
    public static ServingArguments ReadSuccessor(ParseResult parsed, DeviceRecord? record) => Read(parsed, ServingOptions.OfSuccessor, record);

    /// <summary>A successor's options as they were given, for another process.</summary>
    /// <param name="parsed">The command line.</param>
    public static IReadOnlyList<string> Given(ParseResult parsed) => [.. ServingOptions.OfSuccessor.All.SelectMany(option => Tokens(parsed, option))];

    /// <summary>How a connection is used.</summary>
    /// <param name="unit">What its offsets count.</param>
    public ConnectionOptions Serving(OffsetUnit unit) => new(unit, Wait, Spin, Patience) { EventDirectory = EventDirectory, Cpus = Cpus };

    /// <summary>What was asked for, for the records of devices. Each of several connections gets a successor of its own, so that a list of CPUs is the connection's alone.</summary>
    /// <param name="cpus">The CPUs of the devices' connections.</param>
    public string Recorded(CpuChoice cpus) => string.Join(' ', cpus.IsAny ? _recorded : [.. _recorded, ServingOptions.OfFirst.Cpus.Name, $"{cpus}"]);

    private static ServingArguments Read(ParseResult parsed, ServingOptions options, DeviceRecord? record)
    {
        ServingOptions first = ServingOptions.OfFirst;
        ParseResult before = Before(record?.Options ?? string.Empty);
        if (before.Errors.Count > 0) before = Before(string.Empty);
        bool foreground = parsed.GetValue(options.Foreground);
        string? logFile = parsed.GetValue(options.LogFile);
        if (foreground && logFile is not null) throw new ProgramException(ExitCode.Usage, "--foreground and --log-file exclude each other: in the foreground the log goes to standard error");
        string? ioTimeout = parsed.GetValue(options.IoTimeout) ?? before.GetValue(first.IoTimeout);
        if (ioTimeout == NoIoTimeout) ioTimeout = null;
        IEnumerable<string> recorded = options.Recorded.Zip(first.Recorded)
            .Where(pair => pair.First != options.Cpus && (pair.First != options.IoTimeout || ioTimeout is not null))
            .SelectMany(pair => IsGiven(parsed, pair.First) ? Tokens(parsed, pair.First) : Tokens(before, pair.Second));

        // A wrong list is refused where somebody can put it right. What was recorded must not keep devices waiting.
        IReadOnlyList<int> lost = [];
        CpuChoice cpus = IsGiven(parsed, options.Cpus) ? CpuChoice.Parse(Value(of => of.Cpus), hasQueues: true) : CpuChoice.Inherit(Value(of => of.Cpus), out lost);
        return new ServingArguments([.. recorded])
        {
            EventDirectory = CommonOptions.ParseEventDirectory(parsed.GetValue(options.EventDirectory) ?? (Directory.Exists(record?.EventDirectory) ? record.EventDirectory : null)),
            Wait = CommonOptions.ParseWait(Value(of => of.Wait)),
            Spin = CommonOptions.ParseSpin(Value(of => of.Spin)),
            Cpus = cpus,
            LostCpus = lost,
            Patience = ParsePatience(ioTimeout, Value(of => of.StallWarning)),
            Sandbox = CommonOptions.ParseSandbox(Value(of => of.Sandbox)),
            LogLevel = CommonOptions.ParseLogLevel(Value(of => of.LogLevel)),
            ConnectTimeout = CommonOptions.ParseSeconds("--connect-timeout", parsed.GetRequiredValue(options.ConnectTimeout)),
            Foreground = foreground,
            LogFile = logFile,
        };

        string Value(Func<ServingOptions, Option<string>> option) =>
            IsGiven(parsed, option(options)) ? parsed.GetRequiredValue(option(options)) : before.GetRequiredValue(option(first));
    }

    /// <summary>What a predecessor was told, with the defaults for the rest.</summary>
    private static ParseResult Before(string recorded)
    {
        var predecessor = new Command("predecessor");
        foreach (Option option in ServingOptions.OfFirst.Recorded) predecessor.Add(option);
        return predecessor.Parse(recorded.Split(' ', StringSplitOptions.RemoveEmptyEntries));
    }

    private static bool IsGiven(ParseResult parsed, Option option) => parsed.GetResult(option) is { Implicit: false };

    private static IEnumerable<string> Tokens(ParseResult parsed, Option option) =>
        parsed.GetResult(option) is { Implicit: false } result ? [option.Name, .. result.Tokens.Select(token => token.Value)] : [];

    private static Patience ParsePatience(string? ioTimeout, string stallWarning)
    {
        long fail = ioTimeout is null ? long.MaxValue : (long)CommonOptions.ParseSeconds("--io-timeout", ioTimeout, LeastIoTimeoutSeconds).TotalMilliseconds;
        return new Patience(fail, CommonOptions.ParseStallWarning(stallWarning));
    }
}
