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

    private readonly Func<byte[], SmartStatus?> _read;
    private readonly Func<long> _clock;
    private readonly Lock _gate = new();
    private readonly byte[] _page = new byte[SmartCommands.PageSize];
    private SmartStatus _status;
    private long _readAt;
    private volatile bool _isKept;

    private SmartPage(Func<byte[], SmartStatus?> read, Func<long> clock) => (_read, _clock) = (read, clock);

    /// <summary>Reads the SMART data of a block device.</summary>
    /// <param name="disk">The device, which outlives the page.</param>
    /// <returns>The page, or null if the device has none or does not let this process read it.</returns>
    public static SmartPage? TryRead(SafeFileHandle disk) => TryRead(page => SmartCommands.Read(disk, page), static () => Environment.TickCount64);

    /// <summary>Reads SMART data.</summary>
    /// <param name="read">Reads a page, and tells what <see cref="SmartCommands.Read"/> does.</param>
    /// <param name="clock">Milliseconds that do not go back.</param>
    /// <returns>The page, or null if there is none.</returns>
    public static SmartPage? TryRead(Func<byte[], SmartStatus?> read, Func<long> clock)
    {
        var page = new SmartPage(read, clock);
        page._status = read(page._page) ?? SmartStatus.Undefined;
        page._readAt = clock();
        return page._status == SmartStatus.Undefined ? null : page;
    }

    /// <summary>
    /// From now on it stays as it is: for a process that gives up what reading takes. The kernel does not always say that this is what is missing, of a
    /// partition of an ATA disk for one (sd_ioctl, drivers/scsi/sd.c), which then looks as if its SMART data could not be read.
    /// </summary>
    public void Keep() => _isKept = true;

    /// <summary>Reads it again if it is no longer fresh, and copies it. May take as long as the disk takes to answer.</summary>
    /// <param name="destination">512 bytes, changed only if the data could be read.</param>
    /// <param name="mayRead">Whether the disk may be asked; if not, what was last read will do.</param>
    /// <returns>How the disk is.</returns>
    public SmartStatus CopyTo(Span<byte> destination, bool mayRead)
    {
        lock (_gate) return CopyToAlone(destination, mayRead);
    }

    private SmartStatus CopyToAlone(Span<byte> destination, bool mayRead)
    {
        if (mayRead && !_isKept && _clock() - _readAt >= FreshMilliseconds)
        {
            // It had SMART data when it was opened. A process that may no longer read them goes on with what it read then.
            SmartStatus? status = _read(_page);
            if (status is not null) _status = status == SmartStatus.Undefined ? SmartStatus.Failure : status.Value;

            // The time after it: of a disk that takes long, each of those that wait would else ask again.
            _readAt = _clock();
        }

        if (_status != SmartStatus.Failure) _page.CopyTo(destination);
        return _status;
    }
}
