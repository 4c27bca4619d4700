using Microsoft.Win32.SafeHandles;
using MuenBlock.Protocol.Messages;

namespace MuenBlock.Backend.Disks;

/// <summary>
/// A disk's SMART data as it was last read: first when the disk is opened, which also shows whether there is any, and then when a client
/// asks, but not more often than once a second, so that no client keeps a disk busy by asking. Any thread may use it: a disk may be exported on
/// several connections.
/// </summary>
internal sealed class SmartPage
{
    private const long FreshMilliseconds = 1_000;

    private readonly SafeFileHandle _disk;
    private readonly Lock _gate = new();
    private readonly byte[] _page = new byte[SmartCommands.PageSize];
    private SmartStatus _status;
    private long _readAt;

    private SmartPage(SafeFileHandle disk) => _disk = disk;

    /// <summary>Reads the SMART data of a block device.</summary>
    /// <param name="disk">The device, which outlives the page.</param>
    /// <returns>The page, or null if the device has none or does not let this process read it.</returns>
    public static SmartPage? TryRead(SafeFileHandle disk)
    {
        var page = new SmartPage(disk);
        page._status = SmartCommands.Read(disk, page._page) ?? SmartStatus.Undefined;
        page._readAt = Environment.TickCount64;
        return page._status == SmartStatus.Undefined ? null : page;
    }

    /// <summary>Reads it again if it is no longer fresh, and copies it. May take as long as the disk takes to answer.</summary>
    /// <param name="destination">512 bytes, changed only if the data could be read.</param>
    /// <returns>How the disk is.</returns>
    public SmartStatus CopyTo(Span<byte> destination)
    {
        lock (_gate) return CopyToAlone(destination);
    }

    private SmartStatus CopyToAlone(Span<byte> destination)
    {
        long now = Environment.TickCount64;
        if (now - _readAt >= FreshMilliseconds)
        {
            _readAt = now;

            // It had SMART data when it was opened. A process that has given up its privileges since goes on with what it read then.
            SmartStatus? status = SmartCommands.Read(_disk, _page);
            if (status is not null) _status = status == SmartStatus.Undefined ? SmartStatus.Failure : status.Value;
        }

        if (_status != SmartStatus.Failure) _page.CopyTo(destination);
        return _status;
    }
}
