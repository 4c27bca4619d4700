using Microsoft.Win32.SafeHandles;
using MuenBlock.Protocol.Messages;

namespace MuenBlock.Backend.Disks;

/// <summary>A block device, a partition or an image file, opened by <see cref="DiskOpener"/> for the rings of one or more connections. What it was when it was opened: only whether writes were lost, and the page of SMART data, change.</summary>
/// <param name="path">As it was named.</param>
/// <param name="file">The opening that all I/O goes through.</param>
/// <param name="fence">The opening that is claimed; null for a disk that is only read.</param>
internal sealed class Disk(string path, SafeFileHandle file, SafeFileHandle? fence) : IDisposable
{
    private const int Eio = 5; // asm-generic/errno-base.h

    private int _writesLost;
    private int _untold;

    /// <summary>As it was named.</summary>
    public string Path { get; } = path;

    /// <summary>The number of a block device as stat(2) gives it; null for an image file.</summary>
    public ulong? DeviceNumber { get; init; }

    /// <summary>The one opening that all I/O goes through.</summary>
    public SafeFileHandle File { get; } = file;

    /// <summary>
    /// The opening that holds the claim on a disk that is written, to be registered with the ring as well: then the claim lasts until
    /// the last I/O has ended. Null for a disk that is only read; for an image file it is <see cref="File"/>.
    /// </summary>
    public SafeFileHandle? Fence { get; } = fence;

    /// <summary>Which disk it is, see <see cref="DiskNumber"/>. Not 0.</summary>
    public required ulong Identity { get; init; }

    /// <summary>Bytes when it was opened: a multiple of <see cref="BlockLength"/>.</summary>
    public required ulong Size { get; init; }

    /// <summary>The logical block size in bytes: a power of two from 512 to 4096.</summary>
    public required uint BlockLength { get; init; }

    /// <summary>Whether I/O passes the page cache by.</summary>
    public required bool IsDirect { get; init; }

    /// <summary>Whether it is a loop device or made of one: see <see cref="DiskExtent.IsOnLoop"/>.</summary>
    public bool IsOnLoop { get; init; }

    /// <summary>Whether writes and discards are refused.</summary>
    public bool IsReadOnly => Fence is null;

    /// <summary>Whether the disk turns.</summary>
    public required bool IsRotational { get; init; }

    /// <summary>How discards are done, as far as can be told before the first one.</summary>
    public required DiscardMethod Discard { get; init; }

    /// <summary>What a client that asks for traits is told.</summary>
    public DeviceTraits Traits =>
        DeviceTraits.Known
        | (IsReadOnly ? DeviceTraits.ReadOnly : 0)
        | (Discard != DiscardMethod.None ? DeviceTraits.Discard : 0)
        | (IsRotational ? DeviceTraits.Rotational : 0);

    /// <summary>Its SMART data; null for a disk that has none.</summary>
    public SmartPage? Smart { get; init; }

    /// <summary>Looks how large it is now.</summary>
    /// <returns>Bytes: a multiple of <see cref="BlockLength"/>; 0 if it has no block, as one that has vanished, or if that cannot be told.</returns>
    public ulong LookAtSize() => (ulong)Math.Max(0, BlockDeviceQueries.Size(File)) / BlockLength * BlockLength;

    /// <summary>Called once, on the thread of a connection, if a flush could not make durable what was written to the page cache.</summary>
    public Action<int>? WritesLost { get; init; }

    /// <summary>
    /// A flush has ended. What the page cache could not write the kernel drops, and it tells of that once: the next flush of the opening, on whatever
    /// connection, would succeed. So none does any more; one that was under way together with it may still. The page cache is used by images, with O_DIRECT
    /// as well where their file system takes that as a hint, by devices without, and by loop devices below themselves. Any thread may call it.
    /// </summary>
    /// <param name="result">0, or a negative errno.</param>
    /// <param name="isAnswered">
    /// Whether its client is told. If its session is over, the client sends it again, and a disk that has lost what was in its cache would have nothing to
    /// say by then: the next flush that is answered tells of it.
    /// </param>
    /// <returns>What its client is to be told, in the same form.</returns>
    public int EndFlush(int result, bool isAnswered)
    {
        if (!IsDirect || DeviceNumber is null || IsOnLoop)
        {
            if (result < 0 && Interlocked.Exchange(ref _writesLost, 1) == 0) WritesLost?.Invoke(-result);
            if (result == 0 && Volatile.Read(ref _writesLost) != 0) result = -Eio;
        }

        if (isAnswered)
        {
            int untold = Interlocked.Exchange(ref _untold, 0);
            return result == 0 ? untold : result;
        }

        if (result < 0) Volatile.Write(ref _untold, result);
        return result;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        File.Dispose();
        Fence?.Dispose();
    }
}
