using System.CommandLine;
using MuenBlock.Load;
using MuenBlock.Protocol;
using MuenBlock.Protocol.Programs;

// muenblock-load direct FILE | channel DIRECTORY CONNECTION [--depth N] [--block BYTES] [--write] [--span BYTES] [--seconds N] [--spin US]
//                pair-serve DIRECTORY | pair-drive DIRECTORY [--depth N] [--seconds N]
var depth = new Option<int>("--depth") { DefaultValueFactory = _ => 32 };
var block = new Option<int>("--block") { DefaultValueFactory = _ => 4096 };
var write = new Option<bool>("--write");
var span = new Option<long>("--span") { DefaultValueFactory = _ => 256 << 20 };
var seconds = new Option<double>("--seconds") { DefaultValueFactory = _ => 2 };
var spin = new Option<int>("--spin") { DefaultValueFactory = _ => 0 };
var file = new Argument<string>("FILE");
var directory = new Argument<string>("DIRECTORY");
var connection = new Argument<string>("CONNECTION");
Job FromOptions(ParseResult parsed) => new(
    parsed.GetValue(depth),
    parsed.GetValue(block),
    parsed.GetValue(write),
    parsed.GetValue(span),
    TimeSpan.FromSeconds(parsed.GetValue(seconds)),
    TimeSpan.FromMicroseconds(parsed.GetValue(spin)));

var direct = new Command("direct", "submits the I/O itself") { file, depth, block, write, span, seconds };
direct.SetAction(parsed => DirectLoad.Run(parsed.GetValue(file)!, FromOptions(parsed)));

var channel = new Command("channel", "lets a backend do the I/O of its device 0") { directory, connection, depth, block, write, span, seconds, spin };
channel.SetAction(parsed =>
{
    using var load = new ChannelLoad(parsed.GetValue(directory)!, ConnectionString.Parse(parsed.GetValue(connection)!), FromOptions(parsed));
    load.Run();
});

var pairServe = new Command("pair-serve", "answers what pair-drive asks, through the channels alone") { directory };
pairServe.SetAction(parsed => PairLoad.Serve(parsed.GetValue(directory)!));

var pairDrive = new Command("pair-drive", "asks pair-serve, through the channels alone") { directory, depth, seconds };
pairDrive.SetAction(parsed => PairLoad.Drive(parsed.GetValue(directory)!, parsed.GetValue(depth), TimeSpan.FromSeconds(parsed.GetValue(seconds))));

try
{
    return new RootCommand("Random transfers, to measure with.") { direct, channel, pairServe, pairDrive }.Parse(args).Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false });
}
catch (ProgramException failure)
{
    Console.Error.WriteLine($"muenblock-load: {failure.Message}");
    return (int)failure.ExitCode;
}
