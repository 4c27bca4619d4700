using System.CommandLine;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Cli;

var root = new RootCommand("The block-device side of muenblock: makes Linux block devices of what another isolation domain exports over shared memory.")
{
    AddCommand.Create(args),
    DeleteCommand.Create(),
    ListCommand.Create(),
    FeaturesCommand.Create(),
};
return ProgramRunner.Run(root, "muenblock-ublk", args);
