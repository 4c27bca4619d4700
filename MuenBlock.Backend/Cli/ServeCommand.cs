using System.CommandLine;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using MuenBlock.Backend.Exports;
using MuenBlock.Backend.Serving;
using MuenBlock.IoUring;
using MuenBlock.Protocol;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using MuenBlock.Protocol.Sandboxing;

namespace MuenBlock.Backend.Cli;

/// <summary>The verb <c>serve</c>: exports disks until a signal ends it.</summary>
internal static class ServeCommand
{
    private static readonly Option<string[]> s_connections = CommonOptions.Connections();

    private static readonly Option<string[]> s_devices = new("--device")
    {
        Description = "A disk and the connection it is exported on: path:connection_id, a block device, a partition or an image file; path:1+2 exports it on both connections, for a client that joins them (add --join). May repeat, or hold several separated by commas; those of a connection get the ids 0, 1, … in that order.",
        HelpName = "DEVICE",
        Required = true,
    };

    private static readonly Option<string> s_regionDirectory = CommonOptions.RegionDirectoryOption();

    private static readonly Option<string> s_eventDirectory = CommonOptions.EventDirectoryOption();

    private static readonly Option<bool> s_createRegions = new("--create-regions")
    {
        Description = "Make the regions that are missing, with Muen's default sizes, readable and writable by this user alone.",
    };

    private static readonly Option<string> s_offsetUnit = CommonOptions.OffsetUnitOption();
    private static readonly Option<bool> s_readOnly = new("--read-only") { Description = "Refuse writes and discards." };
    private static readonly Option<string> s_scheduler = CommonOptions.Choice(
        "--scheduler", "none", "What becomes of the I/O scheduler of an exported block device, or of a partition's disk: none switches it off, keep leaves it.", "none", "keep");

    private static readonly Option<string> s_wait = CommonOptions.WaitOption();
    private static readonly Option<string> s_spin = CommonOptions.SpinOption();
    private static readonly Option<string> s_cpus = CommonOptions.CpusOption(hasQueues: false);
    private static readonly Option<int> s_submissionThread = new("--sqpoll")
    {
        Description = "Let a thread of the kernel submit, which takes a whole CPU and sleeps after so many milliseconds without work; 1 to 60000. Default: no such thread.",
        HelpName = "MILLISECONDS",
    };

    private static readonly Option<bool> s_pollDisks = new("--iopoll")
    {
        Description = "Look for the completions of reads and writes at disks whose queues can be polled, instead of waiting for them; takes a whole CPU while there is I/O.",
    };

    private static readonly Option<string> s_stallWarning = CommonOptions.StallWarningOption();

    private static readonly Option<string> s_user = new("--user")
    {
        Description = "Become this user when everything is open. For a start as root. Default: stay the user that started it.",
        HelpName = "NAME",
    };

    private static readonly Option<string> s_sandbox = CommonOptions.SandboxOption();
    private static readonly Option<string> s_logLevel = CommonOptions.LogLevelOption();

    /// <summary>The verb, for the command line.</summary>
    public static Command Create()
    {
        var command = new Command("serve", "Export disks over shared memory, in the foreground, until SIGTERM or SIGINT.")
        {
            s_connections, s_devices, s_regionDirectory, s_eventDirectory, s_createRegions, s_offsetUnit, s_readOnly, s_scheduler, s_wait, s_spin, s_submissionThread, s_pollDisks, s_cpus, s_stallWarning, s_user, s_sandbox, s_logLevel,
        };
        command.SetAction(parsed => (int)Serve(Read(parsed)));
        return command;
    }

    private static ServeOptions Read(ParseResult parsed)
    {
        var options = new ServeOptions
        {
            Connections = [.. parsed.GetRequiredValue(s_connections).SelectMany(ConnectionString.ParseList)],
            Devices = [.. parsed.GetRequiredValue(s_devices).SelectMany(DeviceString.ParseList)],
            RegionDirectory = parsed.GetValue(s_regionDirectory) ?? RegionDirectory.Default(),
            CreateRegions = parsed.GetValue(s_createRegions),
            ReadOnly = parsed.GetValue(s_readOnly),
            KeepScheduler = parsed.GetRequiredValue(s_scheduler) == "keep",
            Serving = new ConnectionOptions(
                CommonOptions.ParseOffsetUnit(parsed.GetRequiredValue(s_offsetUnit)),
                CommonOptions.ParseWait(parsed.GetRequiredValue(s_wait)),
                CommonOptions.ParseSpin(parsed.GetRequiredValue(s_spin)),
                CommonOptions.ParseStallWarning(parsed.GetRequiredValue(s_stallWarning)))
            {
                SubmissionThreadIdle = ParseIdle(parsed, s_submissionThread),
                PollsDisks = parsed.GetValue(s_pollDisks),
                EventDirectory = CommonOptions.ParseEventDirectory(parsed.GetValue(s_eventDirectory)),
            },
            Cpus = CpuChoice.Parse(parsed.GetRequiredValue(s_cpus), hasQueues: false),
            User = parsed.GetValue(s_user),
            Sandbox = CommonOptions.ParseSandbox(parsed.GetRequiredValue(s_sandbox)),
            LogLevel = CommonOptions.ParseLogLevel(parsed.GetRequiredValue(s_logLevel)),
        };
        ValidateOptionsResult valid = new ServeOptionsValidator().Validate(null, options);
        return valid.Succeeded ? options : throw new ProgramException(ExitCode.Usage, valid.FailureMessage ?? "the options contradict each other");
    }

    private static TimeSpan? ParseIdle(ParseResult parsed, Option<int> option)
    {
        if (parsed.GetResult(option) is not { Implicit: false }) return null;
        var idle = TimeSpan.FromMilliseconds(parsed.GetValue(option));
        return idle >= TimeSpan.FromMilliseconds(1) && idle <= RingOptions.LongestIdle
            ? idle
            : throw new ProgramException(ExitCode.Usage, $"{option.Name} {idle.TotalMilliseconds} is out of range: 1 to {RingOptions.LongestIdle.TotalMilliseconds} milliseconds");
    }

    private static ExitCode Serve(ServeOptions options)
    {
        Privileges.NeverGain();
        IReadOnlyList<Export> exports = ExportPlan.Make(options.Connections, options.Devices, options.ReadOnly);
        using ILoggerFactory factory = LineLog.ToStandardError(options.LogLevel);
        using var signals = new TerminationSignals();
        using var run = new BackendRun(options, signals, factory.CreateLogger("serve"));
        return run.Serve(exports);
    }
}
