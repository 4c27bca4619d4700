using MuenBlock.Protocol.Messages;

namespace MuenBlock.Ublk.Session;

/// <summary>What a server says of one of its devices.</summary>
/// <param name="Blocks">The size in blocks; 0 for a device that is to be skipped.</param>
/// <param name="BlockLength">Bytes in a block: a power of two from 512 to 4096, where there are blocks.</param>
/// <param name="MostBlocks">The most blocks of one request; 0 if the server sets no bound.</param>
/// <param name="Traits">What else it told; none from a plain muenblock 2.0 server.</param>
internal readonly record struct DeviceGeometry(ulong Blocks, uint BlockLength, ulong MostBlocks, DeviceTraits Traits)
{
    /// <summary>The least block length: a sector.</summary>
    public const uint SmallestBlock = 512;

    /// <summary>The largest block length that ublk takes: a page.</summary>
    public const uint LargestBlock = 4096;

    // A ublk request has at least 8 sectors to spend (max_sectors, ublk_validate_params).
    private const ulong LeastTransfer = 4096;

    /// <summary>Which disk it is, see <see cref="RequestKind.Identity"/>; 0 where that is not known.</summary>
    public ulong Identity { get; init; }

    /// <summary>Whether the server refuses writes.</summary>
    public bool IsReadOnly => (Traits & DeviceTraits.ReadOnly) != 0;

    /// <summary>Whether the server has said that it does not.</summary>
    public bool IsWritable => (Traits & (DeviceTraits.Known | DeviceTraits.ReadOnly)) == DeviceTraits.Known;

    /// <summary>Bytes; the most that there are if a server tells of more, so that they are not taken for few.</summary>
    public ulong Size => BlockLength != 0 && Blocks > ulong.MaxValue / BlockLength ? ulong.MaxValue : Blocks * BlockLength;

    /// <summary>The most bytes of one request. A device that is to be skipped may have blocks of any length, of none as well.</summary>
    public ulong MostBytes => MostBlocks == 0 || BlockLength == 0 || MostBlocks > ulong.MaxValue / BlockLength ? ulong.MaxValue : MostBlocks * BlockLength;

    /// <summary>The most blocks that a device may have: its size in bytes is a positive number of 64 bits, as Linux counts.</summary>
    /// <param name="blockLength">Bytes in a block, not 0.</param>
    public static ulong MostBlocksOf(uint blockLength) => (ulong)long.MaxValue / blockLength;

    /// <summary>Which rule the values break, in words; null if they can be used.</summary>
    public string? BrokenRule
    {
        get
        {
            if (Blocks == 0) return null;
            if (BlockLength is < SmallestBlock or > LargestBlock || !uint.IsPow2(BlockLength))
                return $"BlockLengthIsPowerOfTwoFrom512To4096: {BlockLength}";
            if (Blocks > MostBlocksOf(BlockLength)) return $"SizeFitsInt64: {Blocks} blocks of {BlockLength} bytes";
            return MostBytes < LeastTransfer ? $"RequestsMayHave4096Bytes: {MostBlocks} blocks of {BlockLength} bytes" : null;
        }
    }
}
