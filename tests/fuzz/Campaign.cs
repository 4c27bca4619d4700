using System.Diagnostics;

namespace MuenBlock.Fuzz;

/// <summary>An input that fails, and why.</summary>
internal sealed record Finding(string Target, byte[] Input, Exception Failure);

/// <summary>Inputs through a harness, until one fails.</summary>
internal static class Campaign
{
    /// <summary>The inputs that are kept for a target: seeds, and what once failed.</summary>
    /// <param name="directory">The folder of all seeds, which has one per target.</param>
    /// <param name="target">The target.</param>
    public static IReadOnlyList<(string Name, byte[] Input)> Seeds(string directory, string target) =>
        [.. Directory.EnumerateFiles(Path.Combine(directory, target)).Order(StringComparer.Ordinal).Select(file => (Path.GetFileName(file), File.ReadAllBytes(file)))];

    /// <summary>Tries one input.</summary>
    public static Finding? Try(string target, byte[] input)
    {
        try
        {
            Targets.All[target](input);
            return null;
        }
        catch (Exception failure)
        {
            return new Finding(target, input, failure);
        }
    }

    /// <summary>Tries inputs that are made from others.</summary>
    /// <param name="target">The target.</param>
    /// <param name="corpus">What they are made from.</param>
    /// <param name="seed">Decides them all.</param>
    /// <param name="time">For how long.</param>
    /// <param name="executions">How many were tried.</param>
    /// <returns>The first that failed, made as small as can easily be; null if none did.</returns>
    public static Finding? Mutate(string target, IReadOnlyList<byte[]> corpus, int seed, TimeSpan time, out long executions)
    {
        var mutator = new Mutator(seed);
        var clock = Stopwatch.StartNew();
        for (executions = 0; clock.Elapsed < time;)
        {
            executions++;
            if (Try(target, mutator.Next(corpus)) is { } finding) return Shrink(finding);
        }

        return null;
    }

    /// <summary>Takes away pieces for as long as the input fails in the same way.</summary>
    private static Finding Shrink(Finding finding)
    {
        for (int piece = finding.Input.Length / 2; piece > 0; piece /= 2)
        {
            for (int place = 0; place + piece <= finding.Input.Length;)
            {
                byte[] shorter = [.. finding.Input.AsSpan(0, place), .. finding.Input.AsSpan(place + piece)];
                if (Try(finding.Target, shorter) is { } same && same.Failure.GetType() == finding.Failure.GetType()) finding = same;
                else place += piece;
            }
        }

        return finding;
    }

    /// <summary>Keeps a failing input and says how to run it again.</summary>
    /// <param name="finding">The input.</param>
    /// <param name="directory">Where to.</param>
    public static string Describe(Finding finding, string directory)
    {
        _ = Directory.CreateDirectory(directory);
        string file = Path.Combine(directory, $"{finding.Target}-{Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(finding.Input))[..12]}");
        File.WriteAllBytes(file, finding.Input);
        return $"{finding.Target}: {finding.Failure}{Environment.NewLine}run it again with: tests/fuzz/run --replay {finding.Target} {file}";
    }
}
