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
    public void Looks_go_on_while_two_of_three_find_something()
    {
        var budget = new SpinBudget(Bound);
        for (int i = 0; i < 1000; i++)
        {
            Assert.NotEqual(0, budget.Next());
            if (i % 3 > 0) budget.Found(100);
            else budget.Missed();
        }
    }

    [Fact]
    public void A_few_looks_for_nothing_end_the_looking_and_one_in_255_goes_on()
    {
        var budget = new SpinBudget(Bound);
        int looks = 0;
        while (budget.Next() != 0)
        {
            looks++;
            budget.Missed();
        }

        Assert.InRange(looks, 2, 10);
        for (int i = 0; i < 10_000; i++)
        {
            if (budget.Next() > 0) budget.Missed();
        }

        looks = 0;
        for (int i = 0; i < SpinBudget.RarestLook * 100; i++)
        {
            if (budget.Next() == 0) continue;
            looks++;
            budget.Missed();
        }

        Assert.InRange(looks, 99, 101);
    }

    [Fact]
    public void A_few_looks_that_find_something_begin_it_anew()
    {
        var budget = new SpinBudget(Bound);
        for (int i = 0; i < 10_000; i++)
        {
            if (budget.Next() > 0) budget.Missed();
        }

        int sleeps = 0;
        for (int looks = 0; looks < 7; sleeps++)
        {
            if (budget.Next() == 0) continue;
            looks++;
            budget.Found(10);
        }

        Assert.InRange(sleeps, 7, 2 * SpinBudget.RarestLook);
        Assert.NotEqual(0, budget.Next());
    }

    [Fact]
    public void A_deep_queue_that_has_just_been_answered_is_not_taken_for_a_shallow_one()
    {
        var budget = new SpinBudget(Bound);
        Assert.True(budget.NoteInFlight(4));
        Assert.False(budget.NoteInFlight(5));
        Assert.False(budget.NoteInFlight(64));
        int rounds = 0;
        while (!budget.NoteInFlight(rounds % 5)) rounds++;
        Assert.InRange(rounds, 30, 60);
        for (int i = 0; i < 100; i++) Assert.True(budget.NoteInFlight(i % 5));
    }

    [Fact]
    public void Where_short_and_long_waits_alternate_the_short_ones_are_found_again()
    {
        var budget = new SpinBudget(Bound);
        int found = 0;
        for (int sleep = 0; sleep < 10_000; sleep++)
        {
            if (budget.Next() == 0) continue;
            if (sleep % 2 == 0)
            {
                budget.Found(10);
                found++;
            }
            else
            {
                budget.Missed();
            }
        }

        Assert.InRange(found, 1000, 5000);
    }

    [Fact]
    public void A_slice_of_another_thread_makes_looks_rare_at_once()
    {
        var budget = new SpinBudget(Bound);
        for (int i = 0; i < 50; i++) budget.Found(10);
        budget.TookSlice();
        int sleeps = 1;
        while (budget.Next() == 0) sleeps++;
        Assert.Equal(SpinBudget.RarestLook, sleeps);
    }
}
