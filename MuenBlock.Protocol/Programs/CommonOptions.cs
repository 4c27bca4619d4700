using System.CommandLine;
using System.Globalization;
using Microsoft.Extensions.Logging;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Regions;
using MuenBlock.Protocol.Signals;

namespace MuenBlock.Protocol.Programs;

/// <summary>The options that both programs have, so that they are spelled and explained alike.</summary>
public static class CommonOptions
{
    /// <summary>--conn: connection strings, repeated or separated by commas.</summary>
    /// <returns>A new option.</returns>
    public static Option<string[]> Connections() => new("--conn")
    {
        Description = "A connection: id:request:response:buffer[:request_protocol:response_protocol], the protocols in hexadecimal. May repeat, or hold several separated by commas.",
        HelpName = "CONNECTION",
        Required = true,
        AllowMultipleArgumentsPerToken = false,
    };

    /// <summary>--region-dir: where the shared memory is.</summary>
    /// <returns>A new option.</returns>
    public static Option<string> RegionDirectoryOption() => new("--region-dir")
    {
        Description = $"The directory with the regions of shared memory. Default: {RegionDirectory.Muen} where that is mounted, else {RegionDirectory.SharedMemory}.",
        HelpName = "DIR",
    };

    /// <summary>--event-dir: where the events of channels are.</summary>
    /// <returns>A new option.</returns>
    public static Option<string> EventDirectoryOption() => new("--event-dir")
    {
        Description = $"The directory with the events that wake the other end, each named after the channel that it writes. Default: {RegionDirectory.MuenEvents} where that is mounted, else none.",
        HelpName = "DIR",
    };

    /// <summary>The value of <see cref="EventDirectoryOption"/>.</summary>
    /// <param name="directory">What was given, or null.</param>
    /// <returns>The directory with its whole path, or null if there is none.</returns>
    /// <exception cref="ProgramException">What was given is not there.</exception>
    public static string? ParseEventDirectory(string? directory)
    {
        if (directory is null) return RegionDirectory.DefaultEvents();
        if (directory.Length == 0) throw new ProgramException(ExitCode.Usage, "--event-dir is empty: name a directory");
        return Directory.Exists(directory)
            ? Path.GetFullPath(directory)
            : throw new ProgramException(ExitCode.Resource, $"the event directory {directory} does not exist: name the one where Muen's events are mounted, or leave --event-dir out");
    }

    /// <summary>--offset-unit: what device offsets count.</summary>
    /// <returns>A new option.</returns>
    public static Option<string> OffsetUnitOption() => Choice(
        "--offset-unit", "sectors", "What device offsets count on the wire; the same on both ends. Sectors have 512 bytes.", "sectors", "bytes");

    /// <summary>--wait: how the other end is waited for.</summary>
    /// <returns>A new option.</returns>
    public static Option<string> WaitOption() => Choice(
        "--wait", "auto", "How the other end is waited for: by event or futex where both ends can, or always by polling.", "auto", "poll");

    /// <summary>--spin: how long to look before sleeping.</summary>
    /// <returns>A new option.</returns>
    public static Option<string> SpinOption() => new("--spin")
    {
        Description = "How long at most to look for work before sleeping, in microseconds, while little is in flight and looks find something; 0 to 10000, or auto: four times what a wake-up costs on this machine, 20 to 500, or 0 if it has one CPU.",
        HelpName = "auto|MICROSECONDS",
        DefaultValueFactory = _ => "auto",
    };

    /// <summary>--cpus: on which CPUs the threads of connections run.</summary>
    /// <param name="hasQueues">Whether the program has hardware queues that they can follow.</param>
    /// <returns>A new option; <see cref="CpuChoice.Parse"/> reads it.</returns>
    public static Option<string> CpusOption(bool hasQueues) => new("--cpus")
    {
        Description = "The CPUs that the connections' threads are kept on: a list such as 0,2-3, dealt out to them in order; "
            + (hasQueues ? "auto for those whose requests each one's hardware queue takes; " : string.Empty) + "or none, for any.",
        HelpName = hasQueues ? "LIST|auto|none" : "LIST|none",
        DefaultValueFactory = _ => "none",
    };

    /// <summary>--stall-warning: when an I/O is worth a line.</summary>
    /// <returns>A new option.</returns>
    public static Option<string> StallWarningOption() => new("--stall-warning")
    {
        Description = "Log an I/O that takes longer than so many seconds, with all that is known of it, and again when it ends; 0 for never.",
        HelpName = "SECONDS",
        DefaultValueFactory = _ => "30",
    };

    /// <summary>--sandbox: whether privileges and system calls are given up.</summary>
    /// <returns>A new option.</returns>
    public static Option<string> SandboxOption() => Choice(
        "--sandbox", "on", "Whether to give up capabilities and system calls that serving does not need, once all is open.", "on", "off");

    /// <summary>The value of <see cref="SandboxOption"/>.</summary>
    /// <param name="text">One of its choices.</param>
    /// <returns>Whether it is on.</returns>
    public static bool ParseSandbox(string text) => text == "on";

    /// <summary>--log-level: the least severe lines that are written.</summary>
    /// <returns>A new option.</returns>
    public static Option<string> LogLevelOption() => Choice(
        "--log-level", "info", "The least severe lines that are logged.", "debug", "info", "warn", "error");

    /// <summary>The value of <see cref="OffsetUnitOption"/>.</summary>
    /// <param name="text">One of its choices.</param>
    /// <returns>The unit.</returns>
    public static OffsetUnit ParseOffsetUnit(string text) => text == "bytes" ? OffsetUnit.Bytes : OffsetUnit.Sectors;

    /// <summary>The value of <see cref="WaitOption"/>.</summary>
    /// <param name="text">One of its choices.</param>
    /// <returns>The mode.</returns>
    public static WaitMode ParseWait(string text) => text == "poll" ? WaitMode.Poll : WaitMode.Auto;

    /// <summary>The value of <see cref="LogLevelOption"/>.</summary>
    /// <param name="text">One of its choices.</param>
    /// <returns>The level.</returns>
    public static LogLevel ParseLogLevel(string text) => text switch
    {
        "debug" => LogLevel.Debug,
        "warn" => LogLevel.Warning,
        "error" => LogLevel.Error,
        _ => LogLevel.Information,
    };

    /// <summary>The value of <see cref="SpinOption"/>.</summary>
    /// <param name="text">What was given.</param>
    /// <returns>The time.</returns>
    /// <exception cref="ProgramException">It is not a number, or out of range.</exception>
    public static TimeSpan ParseSpin(string text)
    {
        if (text == "auto") return WakeUpCost.Bound;
        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int microseconds) && microseconds <= 10_000
            ? TimeSpan.FromMicroseconds(microseconds)
            : throw new ProgramException(ExitCode.Usage, $"--spin '{text}' is neither auto nor a number of microseconds from 0 to 10000");
    }

    /// <summary>The value of an option that is a time in seconds, such as 2.5.</summary>
    /// <param name="name">The option's name.</param>
    /// <param name="text">What was given.</param>
    /// <param name="least">The least that it may be, in seconds.</param>
    /// <returns>The time: at most a day.</returns>
    /// <exception cref="ProgramException">It is not a number, or out of range.</exception>
    public static TimeSpan ParseSeconds(string name, string text, double least = 0)
    {
        const double most = 86_400;
        return double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double seconds) && seconds >= least && seconds <= most
            ? TimeSpan.FromSeconds(seconds)
            : throw new ProgramException(ExitCode.Usage, string.Create(CultureInfo.InvariantCulture, $"{name} '{text}' is not a time: {least} to {most} seconds, such as 2.5"));
    }

    /// <summary>The value of <see cref="StallWarningOption"/>.</summary>
    /// <param name="text">What was given.</param>
    /// <returns>Milliseconds; <see cref="long.MaxValue"/> for never.</returns>
    /// <exception cref="ProgramException">It is not a number, or out of range.</exception>
    public static long ParseStallWarning(string text)
    {
        // Rounded up: only 0 is never.
        long milliseconds = (long)Math.Ceiling(ParseSeconds("--stall-warning", text).TotalMilliseconds);
        return milliseconds == 0 ? long.MaxValue : milliseconds;
    }

    /// <summary>An option that takes one of a few words.</summary>
    /// <param name="name">With its dashes.</param>
    /// <param name="standard">What it is if it is not given.</param>
    /// <param name="description">For the help.</param>
    /// <param name="choices">The words.</param>
    /// <returns>A new option.</returns>
    public static Option<string> Choice(string name, string standard, string description, params string[] choices)
    {
        var option = new Option<string>(name) { Description = description, DefaultValueFactory = _ => standard };
        option.AcceptOnlyFromAmong(choices);
        return option;
    }
}
