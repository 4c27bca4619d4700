using Xunit;
using Xunit.Sdk;

namespace MuenBlock.Simulation.Tests;

/// <summary>
/// Both state machines over real channels, with a simulated driver, disks, clock and fate. A seed decides everything. One that fails is told of
/// with the command that runs it again; what happened in it is written to a file.
/// </summary>
public sealed class SimulationTests
{
    private const int Usual = 10_000;

    [Fact]
    public void Whoever_dies_or_is_hostile_the_invariants_hold_after_every_step()
    {
        // What is made once per program, such as a table of error numbers, is made now: I4 is about what comes after.
        for (int seed = 0; seed < 20; seed++) _ = RunOne(seed, measures: false);
        if (int.TryParse(Environment.GetEnvironmentVariable("MUENBLOCK_SEED"), out int chosen))
        {
            _ = RunOne(chosen, measures: true);
            return;
        }

        int count = int.TryParse(Environment.GetEnvironmentVariable("MUENBLOCK_SEEDS"), out int wanted) ? wanted : Usual;
        int first = Random.Shared.Next(int.MaxValue - count);
        var all = new Tally();
        Exception? failure = null;
        _ = Parallel.For(
            0,
            count,
            new ParallelOptions { MaxDegreeOfParallelism = Environment.ProcessorCount },
            (i, state) =>
            {
                try
                {
                    Tally one = RunOne(first + i, measures: true);
                    lock (all) all.Add(one);
                }
                catch (XunitException failed)
                {
                    _ = Interlocked.CompareExchange(ref failure, failed, null);
                    state.Stop();
                }
            });
        if (failure is not null) throw failure;
        foreach ((string what, ulong happened) in all.Counts) Assert.True(happened > 0, $"{what}: never in {count} seeds");
    }

    private static Tally RunOne(int seed, bool measures)
    {
        try
        {
            using var world = new World(seed, traced: false, measures);
            world.Run();
            return world.Tally;
        }
        catch (Exception failure)
        {
            throw new XunitException($"{failure.Message}\nseed {seed}, again with: MUENBLOCK_SEED={seed} ./test unit {nameof(Whoever_dies_or_is_hostile_the_invariants_hold_after_every_step)}\nwhat happened: {WriteTrace(seed)}", failure);
        }
    }

    private static string WriteTrace(int seed)
    {
        using var world = new World(seed, traced: true, measures: false);
        string end;
        try
        {
            world.Run();
            end = "the end, without a failure: it may need what is only measured without a trace (I4)";
        }
        catch (Exception failure)
        {
            end = failure.Message;
        }

        string file = Path.Combine(Directory.CreateDirectory("TestResults").FullName, $"simulation-{seed}.log");
        File.WriteAllLines(file, [.. world.Trace.Lines, end]);
        return file;
    }
}
