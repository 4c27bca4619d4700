using System.CommandLine;
using System.Diagnostics;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Cli;
using MuenBlock.Ublk.Queues;

namespace MuenBlock.Ublk.Tests;

/// <summary>What the next server of a device is told by its record.</summary>
public sealed class ServingArgumentsTests
{
    private const string Connections = "--conn 1:a:b:c --conn 2:d:e:f";

    private static readonly int[] s_cpus = FindCpus();

    [Fact]
    public void The_successor_of_each_connection_keeps_the_CPUs_that_the_connection_had()
    {
        Assert.SkipUnless(s_cpus.Length >= 2, "this machine has one CPU");
        IReadOnlyList<ServerOptions> added = Add($"{Connections} --cpus {s_cpus[0]},{s_cpus[1]} --spin 30");
        Assert.Equal(2, added.Count);
        for (int i = 0; i < 2; i++)
        {
            Assert.Equal([s_cpus[i]], added[i].Serving.Cpus.Of(0, 1));
            Assert.Equal($"--spin 30 --cpus {s_cpus[i]}", added[i].Recorded);
            ServingArguments next = Recover(added[i].Recorded);
            Assert.Equal([s_cpus[i]], next.Cpus.Of(0, 1));
            Assert.Equal(added[i].Recorded, next.Recorded(next.Cpus));
        }
    }

    [Fact]
    public void The_successor_of_joined_connections_deals_out_the_whole_list_again()
    {
        Assert.SkipUnless(s_cpus.Length >= 2, "this machine has one CPU");
        string list = $"{s_cpus[1]},{s_cpus[0]}";
        ServerOptions added = Assert.Single(Add($"{Connections} --join --cpus {list}"));
        Assert.Equal($"--cpus {list}", added.Recorded);
        CpuChoice next = Recover(added.Recorded).Cpus;
        Assert.Equal([s_cpus[1]], next.Of(0, 2));
        Assert.Equal([s_cpus[0]], next.Of(1, 2));
    }

    [Fact]
    public void A_successor_that_is_told_other_CPUs_or_none_has_those()
    {
        string before = $"--cpus {s_cpus[0]}";
        Assert.True(Recover(before, "--cpus none").Cpus.IsAny);
        Assert.True(Recover(before, "--cpus auto").Cpus.FollowsQueues);
        ServingArguments any = Recover(before, "--cpus none");
        Assert.Empty(any.Recorded(any.Cpus));
        Assert.Equal("--cpus auto", Assert.Single(Add("--conn 1:a:b:c --cpus auto")).Recorded);
    }

    [Fact]
    public void CPUs_that_a_predecessor_had_and_a_successor_may_not_use_are_left_out_and_told_of()
    {
        const int none = 8191;
        ServingArguments some = Recover($"--cpus {none},{s_cpus[0]}");
        Assert.Equal(($"{s_cpus[0]}", none), ($"{some.Cpus}", Assert.Single(some.LostCpus)));
        ServingArguments any = Recover($"--cpus {none}");
        Assert.True(any.Cpus.IsAny);
        Assert.Equal([none], any.LostCpus);
        Assert.Empty(Recover($"--cpus {none}", "--cpus none").LostCpus);
        Assert.Equal(ExitCode.Usage, Assert.Throws<ProgramException>(() => Recover(string.Empty, $"--cpus {none}")).ExitCode);
    }

    [Fact]
    public void A_successor_keeps_the_time_out_unless_it_is_told_to_wait_for_ever()
    {
        const string before = "--io-timeout 5";
        Assert.Equal(5_000, Recover(before).Patience.Fail);
        Assert.Equal(7_000, Recover(before, "--io-timeout 7").Patience.Fail);
        ServingArguments endless = Recover(before, "--io-timeout none");
        Assert.Equal(long.MaxValue, endless.Patience.Fail);
        Assert.Empty(endless.Recorded(endless.Cpus));
    }

    [Fact]
    public void A_successor_has_the_defaults_of_the_first_server_where_the_record_says_nothing()
    {
        ServingArguments next = Recover(string.Empty);
        ServingArguments first = ServingArguments.Read(Parse(AddCommand.Create([]), "--conn 1:a:b:c"));
        Assert.Equal((first.Wait, first.Spin, first.Patience, first.Sandbox, first.LogLevel), (next.Wait, next.Spin, next.Patience, next.Sandbox, next.LogLevel));
        Assert.True(next.Cpus.IsAny);
        Assert.Empty(next.Recorded(next.Cpus));
    }

    [Theory]
    [InlineData("recover")]
    [InlineData("upgrade")]
    public void The_help_of_a_successor_tells_of_no_default_but_that_of_the_time_out_for_the_connection(string verb)
    {
        Command command = verb == "recover" ? RecoverCommand.Create() : UpgradeCommand.Create();
        Assert.Equal(["--connect-timeout"], command.Options.OfType<Option<string>>().Where(option => option.HasDefaultValue).Select(option => option.Name));
    }

    private static IReadOnlyList<ServerOptions> Add(string arguments)
    {
        ParseResult parsed = Parse(AddCommand.Create([]), arguments);
        return AddCommand.Read(parsed, ServingArguments.Read(parsed));
    }

    private static ServingArguments Recover(string recorded, string arguments = "") =>
        ServingArguments.ReadSuccessor(Parse(RecoverCommand.Create(), arguments), DeviceRecordTests.Example(0) with { Options = recorded });

    private static ParseResult Parse(Command command, string arguments)
    {
        ParseResult parsed = command.Parse(arguments.Split(' ', StringSplitOptions.RemoveEmptyEntries));
        Assert.Empty(parsed.Errors);
        return parsed;
    }

    // The threads of a process may be kept from CPUs by its container: what this one may use is found by trying.
    private static int[] FindCpus()
    {
        var found = new List<int>();
        ulong mask = (ulong)Process.GetCurrentProcess().ProcessorAffinity;
        var thread = new Thread(() => found.AddRange(Enumerable.Range(0, 64).Where(cpu => (mask >> cpu & 1) == 1 && CpuChoice.PinThisThread([cpu])).Take(2)));
        thread.Start();
        thread.Join();
        return [.. found];
    }
}
