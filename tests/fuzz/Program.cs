using System.Globalization;
using MuenBlock.Fuzz;
using SharpFuzz;

// usage: see tests/fuzz/run, which starts this
switch (args)
{
    case ["list"]:
        foreach (string name in Targets.All.Keys) Console.WriteLine(name);
        return 0;
    case ["replay", var target, .. var files] when Targets.All.ContainsKey(target):
        foreach (string file in files)
        {
            Targets.All[target](File.ReadAllBytes(file));
            Console.WriteLine($"{target}: {file} is as it must be");
        }

        return 0;
    case ["mutate", var target, var seeds, var seconds, var seed] when Targets.All.ContainsKey(target):
        byte[][] corpus = [.. Campaign.Seeds(seeds, target).Select(one => one.Input)];
        TimeSpan time = TimeSpan.FromSeconds(double.Parse(seconds, CultureInfo.InvariantCulture));
        Finding? finding = Campaign.Mutate(target, corpus, int.Parse(seed, CultureInfo.InvariantCulture), time, out long executions);
        Console.WriteLine($"{target}: {executions} executions from seed {seed}, {(finding is null ? 0 : 1)} findings");
        if (finding is null) return 0;
        Console.WriteLine(Campaign.Describe(finding, "TestResults/fuzz"));
        return 1;
    case ["afl", var target] when Targets.All.ContainsKey(target):
        // afl++ tells of coverage and of the input over its own channel; an exception is a crash to it.
        Fuzzer.Run(stream =>
        {
            using var input = new MemoryStream();
            stream.CopyTo(input);
            Targets.All[target](input.ToArray());
        });
        return 0;
    default:
        Console.Error.WriteLine("wrong arguments: use tests/fuzz/run");
        return 2;
}
