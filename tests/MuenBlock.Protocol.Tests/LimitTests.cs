using System.Globalization;
using MuenBlock.Protocol.Programs;
using Xunit;

namespace MuenBlock.Protocol.Tests;

/// <summary>What a program does at limits of its process.</summary>
public sealed class LimitTests
{
    [Fact]
    public void A_write_beyond_the_limit_on_file_sizes_ends_no_process()
    {
        FileSizeLimit.Lift();
        string ignored = File.ReadLines("/proc/self/status").Single(line => line.StartsWith("SigIgn:", StringComparison.Ordinal))[7..].Trim();
        const int sigxfsz = 25;
        Assert.Equal(1ul, (ulong.Parse(ignored, NumberStyles.HexNumber, CultureInfo.InvariantCulture) >> (sigxfsz - 1)) & 1);
    }
}
