using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using MuenBlock.Protocol.Signals;
using Xunit;

namespace MuenBlock.Protocol.Tests;

/// <summary>Regions whose pages cannot be pinned, and what stands in for them.</summary>
public sealed unsafe class BounceBufferTests : IDisposable
{
    private const int Size = 16384;

    private readonly string _folder = Directory.CreateDirectory($"/dev/shm/muenblock-test-{Guid.NewGuid():n}").FullName;
    private readonly Region _region;

    public BounceBufferTests()
    {
        _ = Region.CreateIfMissing(_folder, "buffer", Size);
        _region = Region.Open(_folder, "buffer", writable: true, Size);
    }

    private Span<byte> Shared => new(_region.Memory, Size);

    public void Dispose()
    {
        _region.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public void A_region_in_memory_can_be_pinned_whether_it_is_mapped_for_writing_or_not()
    {
        using var reader = Region.Open(_folder, "buffer", writable: false, Size);
        Assert.True(_region.CanBePinned);
        Assert.True(reader.CanBePinned);
    }

    // The kernel's own data, which it shows to every process: a PFN mapping, as that of a PCI device's memory is.
    [Fact]
    public void A_mapping_without_pages_cannot_be_pinned()
    {
        string line = File.ReadLines("/proc/self/maps").First(line => line.EndsWith("[vvar]", StringComparison.Ordinal));
        nuint address = nuint.Parse(line[..line.IndexOf('-', StringComparison.Ordinal)], System.Globalization.NumberStyles.HexNumber);
        Assert.False(Futex.Reaches((uint*)address));
    }

    [Fact]
    public void A_copy_takes_its_range_to_the_same_place_and_nothing_else()
    {
        using var bounce = new BounceBuffer(_region, Size);
        var memory = new Span<byte>(bounce.Memory, Size);
        var random = new Random(5);
        for (int i = 0; i < 1000; i++)
        {
            int offset = random.Next(Size), length = random.Next(1, Size - offset + 1);
            random.NextBytes(Shared);
            random.NextBytes(memory);
            byte[] shared = Shared.ToArray(), own = memory.ToArray();
            bool outwards = random.Next(2) == 0;
            if (outwards) bounce.ToRegion((ulong)offset, (uint)length);
            else bounce.FromRegion((ulong)offset, (uint)length);
            (outwards ? own : shared).AsSpan(offset, length).CopyTo((outwards ? shared : own).AsSpan(offset));
            Assert.Equal(shared, Shared.ToArray());
            Assert.Equal(own, memory.ToArray());
        }
    }

    [Theory]
    [InlineData(Size, 1)]
    [InlineData(Size - 1, 2)]
    [InlineData(0, Size + 1)]
    [InlineData(ulong.MaxValue, 1)]
    [InlineData(ulong.MaxValue, uint.MaxValue)]
    public void A_copy_that_would_leave_the_memory_is_refused(ulong offset, uint length)
    {
        using var bounce = new BounceBuffer(_region, Size);
        Assert.Throws<ArgumentOutOfRangeException>(() => bounce.FromRegion(offset, length));
        Assert.Throws<ArgumentOutOfRangeException>(() => bounce.ToRegion(offset, length));
    }

    [Fact]
    public void A_region_that_is_too_large_to_have_a_bounce_buffer_is_refused_with_the_bound()
    {
        ProgramException failure = Assert.Throws<ProgramException>(() => new BounceBuffer(_region, (nuint)BounceBuffer.MostBytes + 1));
        Assert.Equal(ExitCode.Resource, failure.ExitCode);
        Assert.Contains("region buffer", failure.Message, StringComparison.Ordinal);
        Assert.Contains("1073741824", failure.Message, StringComparison.Ordinal);
    }
}
