using System.CommandLine;
using MuenBlock.Backend.Cli;
using MuenBlock.Protocol.Programs;

var root = new RootCommand("The disk side of muenblock: exports disks, partitions and images to another isolation domain over shared memory.")
{
    ServeCommand.Create(),
};
return ProgramRunner.Run(root, "muenblock-backend", args);
