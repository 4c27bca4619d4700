using System.CommandLine;
using System.Globalization;
using Microsoft.Extensions.Logging.Abstractions;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Cli;

/// <summary>The verb <c>del</c>: ends and removes block devices of ours that nobody uses.</summary>
internal static class DeleteCommand
{
    private const int GoneMilliseconds = 10_000; // for the process of the last device to end
    private const int LookMilliseconds = 5;

    // Programs that look at every new block device (udev's, the partition scan) are waited for, not reported.
    private const int PassingUseMilliseconds = 2_000;

    private static readonly Argument<string?> s_id = new("ID") { Description = "The N of /dev/ublkbN, or that path.", Arity = ArgumentArity.ZeroOrOne };
    private static readonly Option<bool> s_all = new("--all") { Description = "Delete every device of muenblock-ublk." };

    /// <summary>The verb, for the command line.</summary>
    public static Command Create()
    {
        var command = new Command("del", "Delete block devices. One that is in use is not deleted.") { s_id, s_all };
        command.SetAction(parsed => (int)Delete(parsed.GetValue(s_id), parsed.GetValue(s_all)));
        return command;
    }

    private static ExitCode Delete(string? name, bool all)
    {
        if (all == (name is not null)) throw new ProgramException(ExitCode.Usage, "name one device, or --all. See 'muenblock-ublk del --help'.");
        using ControlPlane control = ControlPlane.Open(NullLogger.Instance);
        if (name is not null)
        {
            int id = ParseId(name);
            DeviceInfo info = control.TryGetInfo(id) ?? throw new ProgramException(ExitCode.NotFound, $"there is no block device {id} ('muenblock-ublk list' shows those there are)");
            if (!Ownership.IsOurs(info)) throw new ProgramException(ExitCode.NotFound, $"block device {id} is another program's: it is not touched");
            Remove(control, id, info);
            return ExitCode.Success;
        }

        ProgramException? failure = null;
        foreach (int id in DeviceDirectory.Ids())
        {
            if (control.TryGetInfo(id) is not { } info || !Ownership.IsOurs(info)) continue;
            try
            {
                Remove(control, id, info);
            }
            catch (ProgramException e)
            {
                // The others go all the same; the last failure is the program's.
                if (failure is not null) Console.Error.WriteLine($"muenblock-ublk: {failure.Message}");
                failure = e;
            }
        }

        return failure is null ? ExitCode.Success : throw failure;
    }

    /// <summary>The id that a user means by "0", "ublkb0" or "/dev/ublkb0".</summary>
    internal static int ParseId(string name)
    {
        string digits = name;
        foreach (string prefix in (string[])["/dev/", "ublkb"])
        {
            if (digits.StartsWith(prefix, StringComparison.Ordinal)) digits = digits[prefix.Length..];
        }

        return int.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out int id)
            ? id
            : throw new ProgramException(ExitCode.Usage, $"'{name}' is not a block device of ublk: give its number, or /dev/ublkbN");
    }

    private static void Remove(ControlPlane control, int id, in DeviceInfo info)
    {
        if (info.State == DeviceState.Live) StopUnlessUsed(control, id);

        // The serving process closes the device when its tags are aborted; then the id becomes free.
        control.Delete(id);
        DeviceRecord.Delete(id);
        WaitForServer(control, info.ServerPid);
    }

    private static void StopUnlessUsed(ControlPlane control, int id)
    {
        long deadline = Environment.TickCount64 + PassingUseMilliseconds;
        while (true)
        {
            bool? stopped = control.TryStop(id);
            if (stopped == true) return;
            IReadOnlyList<string> holders = DeviceHolders.Find(id);
            if (stopped is null && holders.Count == 0 && !DeviceHolders.IsClaimed(id))
            {
                control.Stop(id);
                return;
            }

            if (Environment.TickCount64 >= deadline)
            {
                string by = holders.Count > 0 ? string.Join("; ", holders) : "open, by whom cannot be seen from here";
                throw new ProgramException(ExitCode.Busy, $"/dev/ublkb{id} is in use ({by}): end that first");
            }

            Thread.Sleep(LookMilliseconds);
        }
    }

    /// <summary>A process whose last device this was ends by itself: whoever looks after this command finds nothing left.</summary>
    private static void WaitForServer(ControlPlane control, int pid)
    {
        if (pid <= 0 || DeviceDirectory.Ids().Any(id => control.TryGetInfo(id) is { } info && info.ServerPid == pid)) return;
        long deadline = Environment.TickCount64 + GoneMilliseconds;
        while (Directory.Exists($"/proc/{pid}") && Environment.TickCount64 < deadline) Thread.Sleep(LookMilliseconds);
    }
}
