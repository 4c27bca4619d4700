using MuenBlock.Ublk.Cli;

return CommandLine.Run(args);
