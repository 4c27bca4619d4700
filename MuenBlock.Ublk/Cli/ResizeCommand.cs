using System.CommandLine;
using Microsoft.Extensions.Logging;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Cli;

/// <summary>The verb <c>resize</c>: lets a block device grow with its disk, where the backend does not tell of that by itself.</summary>
internal static class ResizeCommand
{
    private static readonly Argument<string> s_id = new("ID") { Description = "The N of /dev/ublkbN, or that path. The other devices of its connection grow as well." };

    /// <summary>The verb, for the command line.</summary>
    public static Command Create()
    {
        var command = new Command("resize", "Ask the backend for the size of a block device's disk, and let the device grow to it while it is in use. It never shrinks. Prints its size.") { s_id };
        command.SetAction(parsed =>
        {
            int id = DeleteCommand.ParseId(parsed.GetRequiredValue(s_id));
            using ILoggerFactory logs = LineLog.ToStandardError(LogLevel.Warning);
            using ControlPlane control = ControlPlane.Open(logs.CreateLogger("resize"));
            Console.Out.WriteLine(new DeviceGrowth(control, RemovalMachine.This).Grow(id));
            return (int)ExitCode.Success;
        });
        return command;
    }
}
