using MuenBlock.Backend.Serving;
using MuenBlock.Protocol.Messages;
using Xunit;

namespace MuenBlock.Backend.Tests;

/// <summary>Every rule that a transfer must keep, at its edge and one step beyond (invariant I3).</summary>
public sealed class RequestRulesTests
{
    private const ulong Size = 1ul << 30;
    private const ulong Buffer = 16ul << 20;
    private const ulong Block = 4096;
    private const ulong Top = ulong.MaxValue - Block + 1; // the last multiple of a block that 64 bits hold

    [Theory]
    [InlineData(nameof(RequestRule.Kept), Block, 0ul, 0ul)]
    [InlineData(nameof(RequestRule.Kept), Buffer, 0ul, 0ul)]
    [InlineData(nameof(RequestRule.Kept), Block, Size - Block, Buffer - Block)]
    [InlineData(nameof(RequestRule.LengthIsWholeBlocks), 0ul, 0ul, 0ul)]
    [InlineData(nameof(RequestRule.LengthIsWholeBlocks), Block - 1, 0ul, 0ul)]
    [InlineData(nameof(RequestRule.LengthIsWholeBlocks), Block + 512, 0ul, 0ul)]
    [InlineData(nameof(RequestRule.LengthIsBounded), (RequestRules.MostBlocks + 1ul) * Block, 0ul, 0ul)]
    [InlineData(nameof(RequestRule.LengthIsBounded), Top, 0ul, 0ul)]
    [InlineData(nameof(RequestRule.OffsetIsAligned), Block, 512ul, 0ul)]
    [InlineData(nameof(RequestRule.RangeIsOnDevice), Block, Size, 0ul)]
    [InlineData(nameof(RequestRule.RangeIsOnDevice), 2 * Block, Size - Block, 0ul)]
    [InlineData(nameof(RequestRule.RangeIsOnDevice), Block, Top, 0ul)]
    [InlineData(nameof(RequestRule.RangeIsOnDevice), 2 * Block, Top, 0ul)]
    [InlineData(nameof(RequestRule.BufferIsAligned), Block, 0ul, 512ul)]
    [InlineData(nameof(RequestRule.RangeIsInBuffer), Block, 0ul, Buffer)]
    [InlineData(nameof(RequestRule.RangeIsInBuffer), 2 * Block, 0ul, Buffer - Block)]
    [InlineData(nameof(RequestRule.RangeIsInBuffer), Buffer + Block, 0ul, 0ul)]
    [InlineData(nameof(RequestRule.RangeIsInBuffer), 2 * Block, 0ul, Top)]
    public void A_transfer_is_refused_for_the_rule_that_it_breaks(string rule, ulong length, ulong offset, ulong bufferOffset)
    {
        var request = new Request { Kind = RequestKind.Read, Length = length, DeviceOffset = offset, BufferOffset = bufferOffset };
        Assert.Equal(rule, RequestRules.CheckTransfer(request, Device(Size), OffsetUnit.Bytes, Buffer, out ulong found).ToString());
        if (rule == nameof(RequestRule.Kept)) Assert.Equal(offset, found);
    }

    [Theory]
    [InlineData(nameof(RequestRule.Kept), 8ul, 4096ul)]
    [InlineData(nameof(RequestRule.OffsetIsAligned), 1ul, 0ul)]
    [InlineData(nameof(RequestRule.RangeIsOnDevice), 1ul << 55, 0ul)] // times 512 it would be 0
    [InlineData(nameof(RequestRule.RangeIsOnDevice), (1ul << 55) + 8, 0ul)]
    [InlineData(nameof(RequestRule.RangeIsOnDevice), ulong.MaxValue, 0ul)]
    public void An_offset_in_sectors_does_not_wrap_around_to_one_that_is_allowed(string rule, ulong sector, ulong offset)
    {
        var request = new Request { Kind = RequestKind.Read, Length = Block, DeviceOffset = sector };
        Assert.Equal(rule, RequestRules.CheckTransfer(request, Device(Size), OffsetUnit.Sectors, Buffer, out ulong found).ToString());
        if (rule == nameof(RequestRule.Kept)) Assert.Equal(offset, found);
    }

    [Fact]
    public void A_request_that_is_longer_than_its_device_is_refused_and_one_that_is_all_of_it_is_not()
    {
        Assert.Equal(RequestRule.RangeIsOnDevice, RequestRules.CheckRange(new Request { Length = 2 * Block }, Device(Block), OffsetUnit.Bytes, out _));
        Assert.Equal(RequestRule.Kept, RequestRules.CheckRange(new Request { Length = Block }, Device(Block), OffsetUnit.Bytes, out _));
    }

    private static ServedDevice Device(ulong size) => new(size, (uint)Block, DeviceTraits.Known | DeviceTraits.Discard);
}
