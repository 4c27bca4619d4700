using CsCheck;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Queues;

namespace MuenBlock.Ublk.Tests;

/// <summary>How the buffer is cut (invariants I1 and I2).</summary>
public sealed class BufferLayoutTests
{
    [Fact]
    public void Muens_default_buffer_gives_one_device_64_slots_of_256_KiB()
    {
        var layout = BufferLayout.Cut(16 << 20, 1, 1020, ulong.MaxValue, false, null, null);
        Assert.Equal((64, 256u << 10), (layout.Depth, layout.SlotSize));
    }

    [Fact]
    public void A_page_of_each_slot_stays_unused_for_a_server_that_merges_by_bytes()
    {
        var layout = BufferLayout.Cut(16 << 20, 1, 1020, ulong.MaxValue, true, null, null);
        Assert.Equal((64, 256u << 10, 252u << 10), (layout.Depth, layout.SlotSize, layout.LargestSlotIo));
        layout = BufferLayout.Cut(16 << 20, 1, 1020, ulong.MaxValue, true, 64, 4096);
        Assert.Equal((64, 8192u, 4096u), (layout.Depth, layout.SlotSize, layout.LargestSlotIo));
    }

    [Fact]
    public void Only_what_lies_behind_the_slots_is_the_applications()
    {
        const ulong buffer = 16 << 20;
        Gen.Select(Gen.Int[1, 4], Gen.Int[1, 64], Gen.ULong[0, 2 * buffer], Gen.UInt[1, 4 << 20], Gen.UInt[0, 2]).Sample((devices, depth, place, length, index) =>
        {
            var layout = BufferLayout.Cut(buffer / 2, devices, 1020, ulong.MaxValue, false, depth, null);
            bool fits = index == 0 && place >= layout.SlotsEnd && place + length <= buffer;
            return layout.IsApplications(((ulong)index << 32) | place, length, buffer, out ulong offset) == fits && (!fits || offset == place);
        });
    }

    [Theory]
    [InlineData(ulong.MaxValue, 1u)]
    [InlineData(ulong.MaxValue - 4095, 4096u)]
    [InlineData(0xffff_fffful, uint.MaxValue)]
    [InlineData((16ul << 20) - 512, 1024u)]
    public void A_place_that_overflows_is_nobodys(ulong place, uint length) =>
        Assert.False(BufferLayout.Cut(8 << 20, 1, 1020, ulong.MaxValue, false, null, null).IsApplications(place, length, 16 << 20, out _));

    [Theory]
    [InlineData(1, 128, null, 128, 128 << 10)]
    [InlineData(1, null, 1 << 20, 16, 1 << 20)]
    [InlineData(2, null, null, 64, 128 << 10)]
    [InlineData(1, 1, null, 1, 1 << 20)]
    [InlineData(1, 4, 4 << 20, 4, 4 << 20)]
    [InlineData(4, 1020 / 4, null, 255, 16 << 10)]
    public void What_is_asked_for_is_given_if_it_fits(int devices, int? depth, int? largestIo, int expectedDepth, int expectedIo)
    {
        var layout = BufferLayout.Cut(16 << 20, devices, 1020, ulong.MaxValue, false, depth, (uint?)largestIo);
        Assert.Equal((expectedDepth, (uint)expectedIo), (layout.Depth, layout.SlotSize));
    }

    [Theory]
    [InlineData(1, 1021, null, "--depth 1021")]
    [InlineData(1, 64, 512 << 10, "--max-io")]
    [InlineData(1, null, 32 << 20, "--max-io")]
    [InlineData(2, 511, null, "--depth 511")]
    public void What_does_not_fit_is_refused_with_what_would(int devices, int? depth, int? largestIo, string part)
    {
        ProgramException failure = Assert.Throws<ProgramException>(() => BufferLayout.Cut(16 << 20, devices, 1020, ulong.MaxValue, false, depth, (uint?)largestIo));
        Assert.Equal(ExitCode.Usage, failure.ExitCode);
        Assert.Contains(part, failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_connection_has_no_more_slots_than_its_table_of_IOs_however_large_its_regions_are()
    {
        const ulong buffer = 1ul << 40;
        const uint channel = 1 << 20;
        ProgramException failure = Assert.Throws<ProgramException>(() => BufferLayout.Cut(buffer, 16, channel, ulong.MaxValue, false, 4096, null));
        Assert.Equal(ExitCode.Usage, failure.ExitCode);
        Assert.Contains("at most 65534 I/Os of a connection allow 4095; use a smaller one, or fewer devices", failure.Message, StringComparison.Ordinal);
        failure = Assert.Throws<ProgramException>(() => BufferLayout.Keep(buffer, 16, channel, false, 4096, 4096, sharesMemory: false));
        Assert.Equal(ExitCode.Resource, failure.ExitCode);
        Assert.Contains("more than the 65534 I/Os that a connection can have: delete a device", failure.Message, StringComparison.Ordinal);

        // What is as large as it may be has a table.
        var layout = BufferLayout.Cut(buffer, 15, channel, ulong.MaxValue, false, 4096, null);
        Assert.Equal(layout, BufferLayout.Keep(buffer, 15, channel, false, 4096, layout.LargestSlotIo, sharesMemory: false));
        new SessionWorld().Session.Prepare(BufferLayout.MostSlots, layout.SlotSize);
        Assert.Throws<ArgumentOutOfRangeException>(() => new SessionWorld().Session.Prepare(BufferLayout.MostSlots + 1, layout.SlotSize));
    }

    [Fact]
    public void Slots_never_overlap_nor_leave_the_buffer_nor_outnumber_the_channel() =>
        Gen.Select(Gen.ULong[1, 1ul << 32], Gen.Int[1, 256], Gen.OneOf(Gen.UInt[1, 4096], Gen.UInt[1, 1 << 18]), Gen.ULong[4096, 1ul << 40], Gen.Int[1, 4096].Nullable(), Gen.UInt[1, 8192].Nullable(), Gen.Bool).Sample(
            (pages, devices, mostInFlight, mostBytes, depth, ioPages, merges) =>
            {
                ulong length = pages % 65536 * 4096;
                try
                {
                    var layout = BufferLayout.Cut(length, devices, mostInFlight, mostBytes, merges, depth, ioPages * 4096);
                    Assert.True((ulong)layout.Slots * layout.SlotSize <= length);
                    Assert.True(layout.Slots <= Math.Min(mostInFlight, BufferLayout.MostSlots));
                    Assert.True(layout.LargestSlotIo >= 4096 && layout.LargestSlotIo % 4096 == 0 && layout.LargestSlotIo <= mostBytes);
                    // The end of a transfer is never the begin of a slot for a server that would merge the two.
                    Assert.True(merges ? layout.LargestSlotIo < layout.SlotSize : layout.LargestSlotIo == layout.SlotSize);
                    Assert.Equal(depth ?? layout.Depth, layout.Depth);
                    Assert.Equal(ioPages * 4096 ?? layout.LargestSlotIo, layout.LargestSlotIo);
                    Assert.Equal((uint)layout.Slots - 1, layout.Slot(devices - 1, layout.Depth - 1));
                }
                catch (ProgramException failure)
                {
                    Assert.True(failure.ExitCode is ExitCode.Usage or ExitCode.Resource);
                }
            },
            iter: 20_000);

    [Fact]
    public void What_fitted_when_the_devices_were_added_fits_again_with_the_same_tags_and_sizes() =>
        Gen.Select(Gen.ULong[1, 65536], Gen.Int[1, 256], Gen.UInt[1, 4096], Gen.Bool).Sample(
            (pages, devices, mostInFlight, merges) =>
            {
                BufferLayout added;
                try
                {
                    added = BufferLayout.Cut(pages * 4096, devices, mostInFlight, ulong.MaxValue, merges, depth: null, largestIo: null);
                }
                catch (ProgramException)
                {
                    return;
                }

                Assert.Equal(added, BufferLayout.Keep(pages * 4096, devices, mostInFlight, merges, added.Depth, added.LargestSlotIo, sharesMemory: false));
                if (devices > 1)
                {
                    var fewer = BufferLayout.Keep(pages * 4096, devices - 1, mostInFlight, merges, added.Depth, added.LargestSlotIo, sharesMemory: false);
                    Assert.Equal((added.Depth, added.SlotSize), (fewer.Depth, fewer.SlotSize));
                }
            });

    [Theory]
    [InlineData(8 << 20, 1020u, false, "do not fit into the buffer of 8388608 bytes: give the connection the regions")]
    [InlineData(16 << 20, 63u, false, "do not fit into channels of 63 requests")]
    [InlineData(16 << 20, 1020u, true, "needs a page between them")]
    public void Devices_that_do_not_fit_any_more_are_refused_by_what_is_missing(int length, uint mostInFlight, bool merges, string phrase)
    {
        ProgramException failure = Assert.Throws<ProgramException>(() => BufferLayout.Keep((ulong)length, 1, mostInFlight, merges, 64, 256 << 10, sharesMemory: false));
        Assert.Equal(ExitCode.Resource, failure.ExitCode);
        Assert.Contains(phrase, failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Slots_do_not_grow_into_the_applications_memory_for_a_server_that_needs_them_apart()
    {
        const ulong buffer = 16 << 20;
        var added = BufferLayout.Cut(buffer / 2, 1, 1020, ulong.MaxValue, mergesByBytes: false, 64, null);
        Assert.Equal(buffer / 2, added.SlotsEnd);
        Assert.Equal(added, BufferLayout.Keep(buffer, 1, 1020, mergesByBytes: false, 64, added.LargestSlotIo, sharesMemory: true));
        ProgramException failure = Assert.Throws<ProgramException>(() => BufferLayout.Keep(buffer, 1, 1020, mergesByBytes: true, 64, added.LargestSlotIo, sharesMemory: true));
        Assert.Equal(ExitCode.Peer, failure.ExitCode);
        Assert.Contains("--app-memory need a backend that agrees on features", failure.Message, StringComparison.Ordinal);
    }
}
