using System.Globalization;

namespace MuenBlock.Ublk.Control;

/// <summary>What can be seen of a process that serves devices, or did (proc_pid_stat(5), proc_pid_status(5)).</summary>
internal static class ServerProcess
{
    private const int StateField = 0; // fields of stat are counted from the state here, which is the third
    private const int FlagsField = 6;
    private const int StartField = 19;

    private const ulong Exiting = 0x4; // PF_EXITING, include/linux/sched.h
    private const ulong KillPending = 1ul << 8; // SIGKILL is 9; masks count from 1

    /// <summary>Whether a process has ended, or is about to and cannot help it: it was killed, or it is on its way out.</summary>
    /// <param name="system">The machine's files.</param>
    /// <param name="pid">The process.</param>
    public static bool IsEnding(SystemFiles system, int pid)
    {
        if (Status(system, pid) is not { } fields || fields[StateField] is "Z" or "X") return true;
        if ((ParseNumber(fields[FlagsField]) & Exiting) != 0) return true;
        return Array.Exists(
            system.Lines($"/proc/{pid}/status"),
            line => (line.StartsWith("SigPnd:", StringComparison.Ordinal) || line.StartsWith("ShdPnd:", StringComparison.Ordinal))
                && ulong.TryParse(line.AsSpan("SigPnd:".Length).Trim(), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong pending)
                && (pending & KillPending) != 0);
    }

    /// <summary>When a process was started, in the kernel's clock ticks; tells it from a later one with its number. Null if it is not there.</summary>
    /// <param name="system">The machine's files.</param>
    /// <param name="pid">The process.</param>
    public static ulong? StartTime(SystemFiles system, int pid) => Status(system, pid) is { } fields ? ParseNumber(fields[StartField]) : null;

    private static string[]? Status(SystemFiles system, int pid)
    {
        // What follows the command, which may itself contain brackets and spaces.
        string? text = system.Text($"/proc/{pid}/stat");
        string[]? fields = text?[(text.LastIndexOf(')') + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return fields?.Length > StartField ? fields : null;
    }

    private static ulong ParseNumber(string text) => ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out ulong number) ? number : 0;
}
