using System.CommandLine;
using System.Globalization;
using Microsoft.Extensions.Logging;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Cli;

/// <summary>The verb <c>del</c>: ends and removes block devices of ours that nobody uses.</summary>
internal static class DeleteCommand
{
    private static readonly Argument<string[]> s_ids = new("ID") { Description = "The N of /dev/ublkbN, or that path. May repeat.", Arity = ArgumentArity.ZeroOrMore };
    private static readonly Option<bool> s_all = new("--all") { Description = "Delete every device of muenblock-ublk; other programs' devices are left alone." };

    private static readonly Option<bool> s_force = new("--force")
    {
        Description = "Delete devices also if they are in use, wait for a server, or have one that is stuck, which is killed: I/O that is under way fails, and what was not written yet is lost.",
    };

    /// <summary>The verb, for the command line.</summary>
    public static Command Create()
    {
        var command = new Command("del", "Delete block devices that nobody uses, and print their paths. One that is in use is left as it is.") { s_ids, s_all, s_force };
        command.SetAction(parsed => (int)Delete(parsed.GetValue(s_ids) ?? [], parsed.GetValue(s_all), parsed.GetValue(s_force)));
        return command;
    }

    private static ExitCode Delete(string[] names, bool all, bool force)
    {
        if (all == (names.Length > 0)) throw new ProgramException(ExitCode.Usage, "name the devices to delete, or give --all: see 'muenblock-ublk del --help'");
        int[] ids = [.. names.Select(ParseId).Distinct()];
        if (all && DeviceDirectory.Ids().Count == 0) return ExitCode.Success;
        using ILoggerFactory logs = LineLog.ToStandardError(LogLevel.Warning);
        using ControlPlane control = ControlPlane.Open(logs.CreateLogger("del"));
        var removal = new DeviceRemoval(control, RemovalMachine.This);
        if (all) ids = [.. DeviceDirectory.Ids().Where(id => control.TryGetInfo(id) is { } info && Ownership.IsOurs(info))];
        int[] waiting = Waiting(control);
        try
        {
            return Delete(ids, id => removal.Remove(id, force), Console.Out, Console.Error);
        }
        finally
        {
            // A server that was killed may have had more devices than the one that had to go.
            foreach (int id in Waiting(control).Except(waiting).Except(ids))
                Console.Error.WriteLine($"{CommandLine.Program}: /dev/ublkb{id} had the same server and waits for another: 'muenblock-ublk recover {id}' gives it one");
        }
    }

    private static int[] Waiting(ControlPlane control) =>
        [.. DeviceDirectory.Ids().Where(id => control.TryGetInfo(id) is { } info && Ownership.IsOurs(info) && info.Waits)];

    /// <summary>Deletes devices one after the other. One that cannot be deleted does not keep the others from going.</summary>
    /// <param name="ids">The devices.</param>
    /// <param name="remove">Deletes one.</param>
    /// <param name="output">Gets the paths of those that are deleted.</param>
    /// <param name="errors">Gets a line for each failure but the last, which is thrown.</param>
    internal static ExitCode Delete(IEnumerable<int> ids, Action<int> remove, TextWriter output, TextWriter errors)
    {
        ProgramException? failure = null;
        foreach (int id in ids)
        {
            try
            {
                remove(id);
                output.WriteLine($"/dev/ublkb{id}");
            }
            catch (ProgramException e)
            {
                if (failure is not null) errors.WriteLine($"{CommandLine.Program}: {failure.Message}");
                failure = e;
            }
        }

        return failure is null ? ExitCode.Success : throw failure;
    }

    /// <summary>The id that a user means by "0", "ublkb0" or "/dev/ublkb0".</summary>
    /// <param name="name">What the user gave.</param>
    /// <exception cref="ProgramException">It is none of these.</exception>
    internal static int ParseId(string name)
    {
        string digits = name;
        if (digits.StartsWith("/dev/", StringComparison.Ordinal)) digits = digits["/dev/".Length..];
        if (digits.StartsWith("ublkb", StringComparison.Ordinal)) digits = digits["ublkb".Length..];
        else if (digits.Length != name.Length) digits = string.Empty;

        // There is no ublkb01: a name that is not the device's own must not delete it.
        bool isNumber = int.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out int id) && digits == id.ToString(CultureInfo.InvariantCulture);
        return isNumber && id <= UblkLimits.LargestId
            ? id
            : throw new ProgramException(ExitCode.Usage, $"'{name}' is no ublk block device: give its number, or /dev/ublkbN");
    }
}
