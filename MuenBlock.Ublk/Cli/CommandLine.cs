using System.CommandLine;
using MuenBlock.Protocol.Programs;

namespace MuenBlock.Ublk.Cli;

/// <summary>The program's command line: a verb for each thing that it does.</summary>
internal static class CommandLine
{
    /// <summary>The program's name, which begins every message.</summary>
    public const string Program = "muenblock-ublk";

    /// <summary>Carries out what the arguments ask for.</summary>
    /// <param name="arguments">The arguments.</param>
    /// <returns>The exit status: an <see cref="ExitCode"/>.</returns>
    public static int Run(string[] arguments)
    {
        var root = new RootCommand("The block-device side of muenblock: makes Linux block devices of what another isolation domain exports over shared memory.")
        {
            AddCommand.Create(arguments),
            RecoverCommand.Create(),
            UpgradeCommand.Create(),
            ResizeCommand.Create(),
            DeleteCommand.Create(),
            ListCommand.Create(),
            FeaturesCommand.Create(),
        };
        return ProgramRunner.Run(root, Program, arguments);
    }
}
