using System.CommandLine;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Cli;

/// <summary>The options of how a process serves. Those of a successor have no defaults: what is not given is as it was for the server before.</summary>
internal sealed class ServingOptions
{
    private ServingOptions(bool succeeds)
    {
        IoTimeout = new("--io-timeout")
        {
            Description = "Let I/O fail if the backend has not answered for so long, until it answers again. " + (succeeds ? "none: wait for ever." : "Default, and none: wait for ever."),
            HelpName = "SECONDS|none",
        };
        LogFile = new("--log-file")
        {
            Description = succeeds
                ? "Where the serving process logs, instead of the log of the server before."
                : $"Where the serving process logs. Default: a file in {DeviceRecord.Directory}, which goes if the process ends well.",
            HelpName = "FILE",
        };
        Recorded = [IoTimeout, Wait, Spin, Cpus, StallWarning, Sandbox, LogLevel];
        All = [ConnectTimeout, IoTimeout, Foreground, LogFile, EventDirectory, Wait, Spin, Cpus, StallWarning, Sandbox, LogLevel];
        if (!succeeds) return;
        EventDirectory.Description = "The directory with the events that wake the other end, each named after the channel that it writes.";
        foreach (Option<string> option in Recorded) option.DefaultValueFactory = null;
    }

    /// <summary>Those of <c>add</c>.</summary>
    public static ServingOptions OfFirst { get; } = new(succeeds: false);

    /// <summary>Those of <c>recover</c> and <c>upgrade</c>.</summary>
    public static ServingOptions OfSuccessor { get; } = new(succeeds: true);

    /// <summary>How long the backend may take to appear.</summary>
    public Option<string> ConnectTimeout { get; } = new("--connect-timeout")
    {
        Description = "How long the backend may take to appear, in seconds.",
        HelpName = "SECONDS",
        DefaultValueFactory = _ => "10",
    };

    /// <summary>How long I/O may take.</summary>
    public Option<string> IoTimeout { get; }

    /// <summary>Whether this process is the server.</summary>
    public Option<bool> Foreground { get; } = new("--foreground") { Description = "Serve in this process and log to standard error." };

    /// <summary>Where a server in the background logs.</summary>
    public Option<string> LogFile { get; }

    /// <summary>Where the events of channels are.</summary>
    public Option<string> EventDirectory { get; } = CommonOptions.EventDirectoryOption();

    /// <summary>How the backend is waited for.</summary>
    public Option<string> Wait { get; } = CommonOptions.WaitOption();

    /// <summary>How long to look for work before sleeping.</summary>
    public Option<string> Spin { get; } = CommonOptions.SpinOption();

    /// <summary>On which CPUs the connections' threads run.</summary>
    public Option<string> Cpus { get; } = CommonOptions.CpusOption(hasQueues: true);

    /// <summary>When an I/O is worth a line.</summary>
    public Option<string> StallWarning { get; } = CommonOptions.StallWarningOption();

    /// <summary>Whether to give up what serving does not need.</summary>
    public Option<string> Sandbox { get; } = CommonOptions.SandboxOption();

    /// <summary>The least severe lines that are logged.</summary>
    public Option<string> LogLevel { get; } = CommonOptions.LogLevelOption();

    /// <summary>All of them, in the order of the help.</summary>
    public IReadOnlyList<Option> All { get; }

    /// <summary>Those that a process has which serves in the background whatever is said.</summary>
    public IEnumerable<Option> OfBackground => All.Where(option => option != Foreground);

    /// <summary>What a successor goes on with, beside the directory of events. A time-out for the connection and a log are chosen anew.</summary>
    public IReadOnlyList<Option<string>> Recorded { get; }
}
