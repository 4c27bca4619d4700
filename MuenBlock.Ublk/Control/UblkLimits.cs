namespace MuenBlock.Ublk.Control;

/// <summary>Bounds and places that the driver's interface fixes (linux/ublk_cmd.h; where noted, drivers/block/ublk_drv.c).</summary>
internal static class UblkLimits
{
    /// <summary>Tags of a queue (UBLK_MAX_QUEUE_DEPTH).</summary>
    public const int DeepestQueue = 4096;

    /// <summary>Hardware queues of a device (UBLK_MAX_NR_QUEUES).</summary>
    public const int MostQueues = 4096;

    /// <summary>The largest N of /dev/ublkbN: minor numbers have 20 bits (UBLK_MINORS, drivers/block/ublk_drv.c).</summary>
    public const int LargestId = (1 << 20) - 1;

    /// <summary>Where the descriptors begin in a character device's file (UBLKSRV_CMD_BUF_OFFSET).</summary>
    public const long DescriptorsOffset = 0;

    /// <summary>How far apart the descriptors of two queues are, at 24 bytes each: the deepest queue's, in whole pages of 4096 bytes.</summary>
    public const long DescriptorsStride = 98_304;

    /// <summary>The result of a fetch that brings a request (UBLK_IO_RES_OK).</summary>
    public const int ResultReady = 0;

    /// <summary>The result of a fetch whose device ends: the tag must not be fetched again (UBLK_IO_RES_ABORT, -ENODEV).</summary>
    public const int ResultAborted = -19;
}
