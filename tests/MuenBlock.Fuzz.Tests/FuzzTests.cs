using System.Globalization;
using Xunit;

namespace MuenBlock.Fuzz.Tests;

/// <summary>
/// Each target with the inputs that are kept for it, and then for a while with some that are made from them. What to make is decided by the
/// day, or by MUENBLOCK_SEED; a failing input is kept in TestResults/fuzz.
/// </summary>
public sealed class FuzzTests
{
    private static readonly TimeSpan s_time = TimeSpan.FromSeconds(1.5);

    private static readonly string s_seeds = Path.Combine(AppContext.BaseDirectory, "seeds");

    private static readonly string s_findings = Path.Combine(Root(AppContext.BaseDirectory), "TestResults", "fuzz");

    public static TheoryData<string> Names => [.. Targets.All.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void Inputs_that_are_kept_are_as_they_must_be(string target)
    {
        IReadOnlyList<(string Name, byte[] Input)> seeds = Campaign.Seeds(s_seeds, target);
        Assert.NotEmpty(seeds);
        foreach ((string name, byte[] input) in seeds)
        {
            Finding? finding = Campaign.Try(target, input);
            Assert.True(finding is null, $"{name}: {finding?.Failure}");
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Inputs_made_from_them_are_as_they_must_be(string target)
    {
        byte[][] corpus = [.. Campaign.Seeds(s_seeds, target).Select(seed => seed.Input)];
        int seed = int.TryParse(Environment.GetEnvironmentVariable("MUENBLOCK_SEED"), NumberStyles.None, CultureInfo.InvariantCulture, out int chosen)
            ? chosen
            : DateOnly.FromDateTime(DateTime.UtcNow).DayNumber;
        Finding? finding = Campaign.Mutate(target, corpus, seed, s_time, out long executions);
        Assert.True(finding is null, finding is null ? "" : Campaign.Describe(finding, s_findings));
        const int few = 20; // even a machine that does much else has that much time
        Assert.True(executions > few, $"only {executions} inputs in {s_time}");
    }

    private static string Root(string directory) =>
        File.Exists(Path.Combine(directory, "muenblock.sln")) ? directory : Root(Path.GetDirectoryName(directory) ?? throw new InvalidOperationException("not in the work tree"));
}
