namespace MuenBlock.Backend.Disks;

/// <summary>How a disk is told that a range is no longer needed.</summary>
internal enum DiscardMethod
{
    /// <summary>It cannot be told.</summary>
    None,

    /// <summary>A discard command to the block device (BLOCK_URING_CMD_DISCARD, linux/blkdev.h, since 6.12).</summary>
    Command,

    /// <summary>A hole punched into the file or, on older kernels, zeroes that the block device may unmap (fallocate(2)).</summary>
    PunchHole,
}
