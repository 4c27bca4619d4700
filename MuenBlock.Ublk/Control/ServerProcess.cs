using System.Globalization;
using static Tmds.Linux.LibC;

namespace MuenBlock.Ublk.Control;

/// <summary>What can be seen of a process that serves devices, or did (proc_pid_stat(5), proc_pid_status(5)).</summary>
internal static class ServerProcess
{
    private const int StateField = 0; // fields of stat are counted from the state here, which is the third
    private const int FlagsField = 6;
    private const int StartField = 19;

    private const ulong Exiting = 0x4; // PF_EXITING, include/linux/sched.h

    /// <summary>Whether a process has ended, or is about to and cannot help it: it was killed, or it is on its way out.</summary>
    /// <param name="system">The machine's files.</param>
    /// <param name="pid">The process.</param>
    public static bool IsEnding(SystemFiles system, int pid)
    {
        if (Status(system, pid) is not { } fields || fields[StateField] is "Z" or "X") return true;
        if ((ParseNumber(fields[FlagsField]) & Exiting) != 0) return true;
        return HasSignal(system, pid, "SigPnd:", SIGKILL) || HasSignal(system, pid, "ShdPnd:", SIGKILL);
    }

    /// <summary>Whether a process has something to do when a signal comes. One that has not, such as one of a version before, would be ended by it.</summary>
    /// <param name="system">The machine's files.</param>
    /// <param name="pid">The process.</param>
    /// <param name="signal">The signal's number.</param>
    public static bool Notes(SystemFiles system, int pid, int signal) => HasSignal(system, pid, "SigCgt:", signal);

    /// <summary>When a process was started, in the kernel's clock ticks; tells it from a later one with its number. Null if it is not there.</summary>
    /// <param name="system">The machine's files.</param>
    /// <param name="pid">The process.</param>
    public static ulong? StartTime(SystemFiles system, int pid) => Status(system, pid) is { } fields ? ParseNumber(fields[StartField]) : null;

    private static bool HasSignal(SystemFiles system, int pid, string mask, int signal) => Array.Exists(
        system.Lines($"/proc/{pid}/status"),
        line => line.StartsWith(mask, StringComparison.Ordinal)
            && ulong.TryParse(line.AsSpan(mask.Length).Trim(), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong signals)
            && (signals & (1ul << (signal - 1))) != 0); // masks count from 1

    private static string[]? Status(SystemFiles system, int pid)
    {
        // What follows the command, which may itself contain brackets and spaces.
        string? text = system.Text($"/proc/{pid}/stat");
        string[]? fields = text?[(text.LastIndexOf(')') + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return fields?.Length > StartField ? fields : null;
    }

    private static ulong ParseNumber(string text) => ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out ulong number) ? number : 0;
}
