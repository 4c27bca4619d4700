using MuenBlock.Protocol.Programs;
using Xunit;

namespace MuenBlock.Protocol.Tests;

public sealed class CpuChoiceTests
{
    private static readonly HashSet<int> s_allowed = [0, 1, 2, 3, 6];

    [Theory]
    [InlineData("0-3", 1, "0-3")]
    [InlineData("0-3", 2, "0-1 2-3")]
    [InlineData("3,0,1", 2, "3 0-1")]
    [InlineData("0-3,6", 3, "0 1-2 3,6")]
    [InlineData("6,2", 3, "6 2 6")]
    public void A_list_is_dealt_out_in_its_order(string list, int connections, string expected)
    {
        var choice = CpuChoice.Parse(list, hasQueues: false, s_allowed);
        Assert.Equal(expected, string.Join(' ', Enumerable.Range(0, connections).Select(connection => CpuChoice.Describe(choice.Of(connection, connections)))));
        Assert.False(choice.FollowsQueues);
    }

    [Theory]
    [InlineData("0-3", 2, "0,1 2,3")]
    [InlineData("3,0,1", 2, "3 0,1")]
    [InlineData("6,2", 3, "6 2 6")]
    [InlineData("none", 2, "none none")]
    [InlineData("auto", 2, "auto auto")]
    public void What_a_connection_has_of_a_choice_is_a_choice_of_its_own(string text, int connections, string expected)
    {
        var choice = CpuChoice.Parse(text, hasQueues: true, s_allowed);
        CpuChoice[] shares = [.. Enumerable.Range(0, connections).Select(connection => choice.Share(connection, connections))];
        Assert.Equal(expected, string.Join(' ', shares.AsEnumerable()));
        for (int i = 0; i < connections; i++)
        {
            var read = CpuChoice.Parse($"{shares[i]}", hasQueues: true, s_allowed);
            Assert.Equal(choice.Of(i, connections), read.Of(0, 1));
            Assert.Equal((choice.IsAny, choice.FollowsQueues), (read.IsAny, read.FollowsQueues));
        }
    }

    [Theory]
    [InlineData("", "'' is neither a CPU nor a range")]
    [InlineData("x", "'x' is neither")]
    [InlineData("0,", "'' is neither")]
    [InlineData("-1", "'-1' is neither")]
    [InlineData("1-", "'1-' is neither")]
    [InlineData("2-1", "'2-1' is neither")]
    [InlineData("0-1-2", "'0-1-2' is neither")]
    [InlineData("+1", "'+1' is neither")]
    [InlineData("0-99999999", "'0-99999999' is neither")]
    [InlineData("0,0", "CPU 0 is named twice")]
    [InlineData("1,0-2", "CPU 1 is named twice")]
    [InlineData("0,4", "CPU 4 is not there, is offline, or is not for this process; 0-3,6 can be named")]
    [InlineData("auto", "a backend has no hardware queues")]
    public void A_wrong_list_is_refused_and_says_what_is_wrong(string list, string why)
    {
        ProgramException failure = Assert.Throws<ProgramException>(() => CpuChoice.Parse(list, hasQueues: false, s_allowed));
        Assert.Equal(ExitCode.Usage, failure.ExitCode);
        Assert.StartsWith($"--cpus '{list}': ", failure.Message, StringComparison.Ordinal);
        Assert.Contains(why, failure.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true, "a list is like 0,2-3, and else there is none and auto")]
    [InlineData(false, "a list is like 0,2-3, and else there is none")]
    public void What_is_offered_instead_of_a_wrong_list_is_what_the_program_takes(bool hasQueues, string offered)
    {
        ProgramException failure = Assert.Throws<ProgramException>(() => CpuChoice.Parse("x", hasQueues, s_allowed));
        Assert.EndsWith(offered, failure.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("6,4,2-3,5", "6,2,3", "4-5")]
    [InlineData("4-5", "none", "4-5")]
    [InlineData("0,2", "0,2", "")]
    [InlineData("none", "none", "")]
    [InlineData("auto", "auto", "")]
    public void Of_another_processs_choice_what_is_allowed_is_kept(string text, string kept, string lost)
    {
        Assert.Equal(kept, $"{CpuChoice.Inherit(text, out IReadOnlyList<int> left, s_allowed)}");
        Assert.Equal(lost, CpuChoice.Describe(left));
    }

    [Fact]
    public void None_is_any_CPU_and_auto_follows_the_queues()
    {
        Assert.Empty(CpuChoice.Parse("none", hasQueues: true).Of(0, 1));
        Assert.True(CpuChoice.Parse("auto", hasQueues: true).FollowsQueues);
    }

    [Fact]
    public void A_thread_is_kept_on_the_CPUs_that_it_is_given()
    {
        // The threads of a process may be kept from CPUs by its container: what this one may use is found by trying.
        int cpu = Enumerable.Range(0, 1024).First(number => OnThread(() => CpuChoice.PinThisThread([number])));
        Assert.True(OnThread(() => CpuChoice.PinThisThread([cpu]) && Thread.GetCurrentProcessorId() == cpu));
        Assert.False(OnThread(() => CpuChoice.PinThisThread([8191])));
    }

    private static bool OnThread(Func<bool> run)
    {
        bool result = false;
        var thread = new Thread(() => result = run());
        thread.Start();
        thread.Join();
        return result;
    }
}
