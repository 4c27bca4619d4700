using System.Runtime.InteropServices;
using MuenBlock.Protocol.Programs;
using Xunit;

namespace MuenBlock.Protocol.Tests;

/// <summary>Signals that this process sends to itself.</summary>
public sealed partial class TerminationSignalsTests
{
    private const int Sigterm = 15; // asm/signal.h
    private const int Sigusr1 = 10;

    [Fact]
    public void A_signal_that_comes_while_its_predecessors_are_looked_for_is_told_of()
    {
        using var signals = new TerminationSignals();
        for (int i = 0; i < 1000; i++)
        {
            Assert.Equal(0, Kill(Environment.ProcessId, Sigterm));

            // Looking without a pause, so that the signal's thread meets any step of a look.
            long deadline = Environment.TickCount64 + 30_000;
            while (!signals.Wait(TimeSpan.Zero)) Assert.True(Environment.TickCount64 < deadline, $"signal {i} was lost");
        }

        Assert.False(signals.Wait(TimeSpan.Zero));
    }

    [Fact]
    public void A_request_to_look_ends_a_wait_and_is_told_of_once()
    {
        using var signals = new TerminationSignals();
        Assert.Equal(0, Kill(Environment.ProcessId, Sigusr1));
        Assert.True(SpinWait.SpinUntil(signals.TakeLookNow, TimeSpan.FromSeconds(30)));
        Assert.False(signals.TakeLookNow());
        long start = Environment.TickCount64;
        Assert.False(signals.Wait(TimeSpan.FromSeconds(60)));
        Assert.InRange(Environment.TickCount64 - start, 0, 30_000);
        Assert.False(signals.Received);
    }

    [Fact]
    public void A_wait_that_no_signal_ends_allocates_nothing()
    {
        using var signals = new TerminationSignals();
        var meter = new AllocationMeter();
        for (int i = 0; i < 10; i++)
        {
            // What the first wait needs is kept.
            if (i == 1) meter.Restart();
            Assert.False(signals.Wait(TimeSpan.FromMilliseconds(10)));
            Assert.False(signals.TakeLookNow());
        }

        Assert.Equal(0, meter.Bytes);
    }

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int process, int signal);
}
