using System.Globalization;
using System.Runtime.InteropServices;
using MuenBlock.Protocol.Programs;
using Xunit;

namespace MuenBlock.Protocol.Tests;

/// <summary>What a program does at limits of its process.</summary>
public sealed class LimitTests
{
    [Fact]
    public void The_signal_of_the_limit_on_file_sizes_is_ignored()
    {
        FileSizeLimit.Lift();
        string ignored = File.ReadLines("/proc/self/status").Single(line => line.StartsWith("SigIgn:", StringComparison.Ordinal))[7..].Trim();
        const int sigxfsz = 25;
        Assert.Equal(1ul, (ulong.Parse(ignored, NumberStyles.HexNumber, CultureInfo.InvariantCulture) >> (sigxfsz - 1)) & 1);
    }

    [Fact]
    public void A_thread_that_cannot_be_started_is_a_lack_of_the_machine_and_no_fault_of_the_program()
    {
        const int outOfMemory = unchecked((int)0x8007_000e); // E_OUTOFMEMORY: what the runtime throws at a limit on threads
        ProgramException failure = Assert.Throws<ProgramException>(static () => Threads.Start(static () => Marshal.ThrowExceptionForHR(outOfMemory)));
        Assert.Equal(ExitCode.Environment, failure.ExitCode);
        Assert.Contains("ulimit -u", failure.Message, StringComparison.Ordinal);
        Assert.Throws<ThreadStateException>(static () => Threads.Start(static () => throw new ThreadStateException()));
    }
}
