using BenchmarkDotNet.Running;
using MuenBlock.Bench;

// dotnet run -c Release --project bench -- --filter '*' ; --job short for a first look.
BenchmarkSwitcher.FromAssembly(typeof(RingBenchmarks).Assembly).Run(args);
