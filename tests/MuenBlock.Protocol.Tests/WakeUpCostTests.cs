using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Signals;
using Xunit;

namespace MuenBlock.Protocol.Tests;

/// <summary>What a sleep costs on the machine that the tests run on.</summary>
public sealed class WakeUpCostTests
{
    [Fact]
    public void A_wake_up_takes_some_time_and_a_look_is_bounded()
    {
        Assert.InRange(WakeUpCost.Measure(), TimeSpan.FromMicroseconds(0.1), TimeSpan.FromSeconds(1));
        if (Environment.ProcessorCount == 1) Assert.Equal(TimeSpan.Zero, WakeUpCost.Bound);
        else Assert.InRange(WakeUpCost.Bound, TimeSpan.FromMicroseconds(20), TimeSpan.FromMicroseconds(500));
    }

    [Fact]
    public void It_is_what_spin_auto_stands_for() => Assert.Equal(WakeUpCost.Bound, CommonOptions.ParseSpin("auto"));
}
