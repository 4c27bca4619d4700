using MuenBlock.Protocol.Signals;
using Xunit;

namespace MuenBlock.Protocol.Tests;

/// <summary>When other threads have their turn before a sleep.</summary>
public sealed class TurnBudgetTests
{
    private const long Longest = 1000;

    [Fact]
    public void Turns_that_are_short_are_given_each_time()
    {
        var budget = new TurnBudget(Longest);
        for (int i = 0; i < 1000; i++)
        {
            Assert.True(budget.Next());
            budget.Took(Longest);
        }
    }

    [Fact]
    public void Turns_that_are_too_long_become_rare_and_one_that_is_short_makes_them_usual_again()
    {
        var budget = new TurnBudget(Longest);
        int expected = TurnBudget.FirstPause;
        for (int turn = 0; turn < 12; turn++)
        {
            Assert.True(budget.Next());
            budget.Took(Longest + 1);
            Assert.Equal(expected, Skipped(budget));
            expected = Math.Min(expected * 2, TurnBudget.LongestPause);
        }

        budget.Took(1);
        Assert.True(budget.Next());
        budget.Took(Longest + 1);
        Assert.Equal(TurnBudget.FirstPause, Skipped(budget));
    }

    private static int Skipped(TurnBudget budget)
    {
        int skipped = 0;
        while (!budget.Next()) skipped++;
        return skipped;
    }
}
