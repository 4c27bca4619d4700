using MuenBlock.Protocol.Signals;
using Xunit;

namespace MuenBlock.Protocol.Tests;

/// <summary>How long an end looks before it sleeps.</summary>
public sealed class SpinBudgetTests
{
    private const long Bound = 1000;

    [Fact]
    public void Nothing_is_looked_for_without_a_bound()
    {
        var budget = new SpinBudget(0);
        for (int i = 0; i < 100; i++) Assert.Equal(0, budget.Next());
    }

    [Fact]
    public void Short_waits_are_looked_for_as_long_as_twice_their_average_and_never_longer_than_the_bound()
    {
        var budget = new SpinBudget(Bound);
        for (int i = 0; i < 50; i++) budget.Found(100);
        Assert.InRange(budget.Next(), 200, 400);
        for (int i = 0; i < 50; i++) budget.Found(900);
        Assert.Equal(Bound, budget.Next());
    }

    [Fact]
    public void A_few_looks_for_nothing_end_the_looking_and_one_in_32_goes_on()
    {
        var budget = new SpinBudget(Bound);
        int looks = 0;
        for (int i = 0; i < 10; i++)
        {
            if (budget.Next() == 0) continue;
            looks++;
            budget.Missed();
        }

        Assert.InRange(looks, 1, 3);
        looks = 0;
        for (int i = 0; i < 32 * 100; i++)
        {
            if (budget.Next() == 0) continue;
            looks++;
            budget.Missed();
        }

        Assert.InRange(looks, 99, 101);
    }

    [Fact]
    public void One_look_that_finds_something_begins_it_anew()
    {
        var budget = new SpinBudget(Bound);
        for (int i = 0; i < 1000; i++)
        {
            if (budget.Next() > 0) budget.Missed();
        }

        while (budget.Next() == 0)
        {
        }

        budget.Found(10);
        Assert.NotEqual(0, budget.Next());
    }
}
