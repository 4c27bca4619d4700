using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using Tmds.Linux;
using static Tmds.Linux.LibC;

namespace MuenBlock.Backend.Disks;

/// <summary>
/// A block device, a partition or an image file, opened for a connection's ring. A disk that is written holds two locks:
/// O_EXCL keeps file systems and other users of a block device away, and flock(2) other backends; the latter lasts until the
/// last I/O of this opening has ended, so that a successor never writes beside a dead predecessor.
/// </summary>
internal sealed partial class Disk : IDisposable
{
    private const int SmallestBlock = 512;
    private const int LargestBlock = 4096; // a page: ublk's largest logical block

    private Disk(string path, SafeFileHandle file, long size, int blockLength, bool direct, bool readOnly, DiscardMethod discard, bool rotational)
    {
        Path = path;
        File = file;
        Size = (ulong)size;
        BlockLength = (uint)blockLength;
        IsDirect = direct;
        IsReadOnly = readOnly;
        Discard = readOnly ? DiscardMethod.None : discard;
        IsRotational = rotational;
    }

    /// <summary>As it was named.</summary>
    public string Path { get; }

    /// <summary>The one opening that all I/O goes through.</summary>
    public SafeFileHandle File { get; }

    /// <summary>Bytes: a multiple of <see cref="BlockLength"/>.</summary>
    public ulong Size { get; }

    /// <summary>The logical block size in bytes: a power of two from 512 to 4096.</summary>
    public uint BlockLength { get; }

    /// <summary>Whether I/O passes the page cache by.</summary>
    public bool IsDirect { get; }

    /// <summary>Whether writes and discards are refused.</summary>
    public bool IsReadOnly { get; }

    /// <summary>Whether the disk turns.</summary>
    public bool IsRotational { get; }

    /// <summary>How discards are done. Falls back when the kernel turns out to lack the better way.</summary>
    public DiscardMethod Discard { get; set; }

    /// <summary>What a client that asks for traits is told.</summary>
    public DeviceTraits Traits =>
        DeviceTraits.Known
        | (IsReadOnly ? DeviceTraits.ReadOnly : 0)
        | (Discard != DiscardMethod.None ? DeviceTraits.Discard : 0)
        | (IsRotational ? DeviceTraits.Rotational : 0);

    /// <summary>Opens a disk.</summary>
    /// <param name="path">A block device, a partition or an image file.</param>
    /// <param name="readOnly">Whether it is only read.</param>
    /// <param name="patience">How long another backend, or what is left of one, is waited for.</param>
    /// <param name="log">Where to say how it was opened.</param>
    /// <returns>The disk.</returns>
    /// <exception cref="ProgramException">It cannot be used; the message says why.</exception>
    public static unsafe Disk Open(string path, bool readOnly, TimeSpan patience, ILogger log)
    {
        // The kind is needed before the flags: O_EXCL means nothing for a file, and opening a pipe would wait for its other end.
        using SafeFileHandle look = PosixFile.TryOpen(path, O_PATH, out int error) ?? throw CannotOpen(path, error, readOnly);
        stat status;
        if (fstat(PosixFile.Descriptor(look), &status) != 0) throw CannotOpen(path, errno, readOnly);
        bool isDevice = (status.st_mode & S_IFMT) == S_IFBLK;
        if (!isDevice && (status.st_mode & S_IFMT) != S_IFREG)
            throw new ProgramException(ExitCode.Resource, $"{path} is neither a block device nor a plain file");

        int flags = (readOnly ? O_RDONLY : O_RDWR) | (isDevice && !readOnly ? O_EXCL : 0);
        bool direct = true;
        SafeFileHandle? file = PosixFile.TryOpen(path, flags | O_DIRECT, out error);
        if (file is null && error == EINVAL)
        {
            direct = false;
            file = PosixFile.TryOpen(path, flags, out error);
            if (file is not null) LogNotDirect(log, path);
        }

        if (file is null) throw CannotOpen(path, error, readOnly);
        try
        {
            if (!readOnly && !PosixFile.TryLock(file, TimeSpan.Zero))
            {
                LogWaitingForLock(log, path);
                if (!PosixFile.TryLock(file, patience))
                    throw new ProgramException(ExitCode.Busy, $"{path} is exported for writing by another backend: stop that one, or export another disk");
            }

            return isDevice ? FromDevice(path, file, status.st_rdev, direct, readOnly) : FromImage(path, file, direct, readOnly, log);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => File.Dispose();

    private static Disk FromDevice(string path, SafeFileHandle file, dev_t number, bool direct, bool readOnly)
    {
        if (!readOnly && BlockDeviceQueries.IsReadOnly(file))
            throw new ProgramException(ExitCode.Resource, $"{path} is read-only: export it with --read-only");
        long size = BlockDeviceQueries.Size(file);
        int block = BlockDeviceQueries.LogicalBlockSize(file);
        bool discards = BlockDeviceQueries.QueueValue((ulong)number, "discard_max_bytes") > 0;
        bool rotational = BlockDeviceQueries.QueueValue((ulong)number, "rotational") > 0;
        return Create(path, file, size, block, direct, readOnly, discards ? DiscardMethod.Command : DiscardMethod.None, rotational);
    }

    private static Disk FromImage(string path, SafeFileHandle file, bool direct, bool readOnly, ILogger log)
    {
        long length = RandomAccess.GetLength(file);
        int alignment = direct ? BlockDeviceQueries.DirectAlignment(file) : 0;
        int block = Math.Max(SmallestBlock, alignment);
        long size = length / block * block;
        if (size != length) LogTail(log, path, length - size, block);
        return Create(path, file, size, block, direct, readOnly, DiscardMethod.PunchHole, rotational: false);
    }

    private static Disk Create(
        string path, SafeFileHandle file, long size, int block, bool direct, bool readOnly, DiscardMethod discard, bool rotational)
    {
        if (block > LargestBlock || !int.IsPow2(block))
            throw new ProgramException(ExitCode.Resource, $"{path} has blocks of {block} bytes: 512 to {LargestBlock} can be served");
        return size >= block
            ? new Disk(path, file, size, block, direct, readOnly, discard, rotational)
            : throw new ProgramException(ExitCode.Resource, $"{path} is empty: it must have at least one block of {block} bytes");
    }

    private static ProgramException CannotOpen(string path, int error, bool readOnly) => error switch
    {
        _ when error == ENOENT => new ProgramException(ExitCode.Resource, $"{path} does not exist"),
        _ when error == EBUSY => new ProgramException(ExitCode.Busy, $"{path} is in use (mounted, or held by another program): release it, or export it with --read-only"),
        _ when error == EACCES || error == EPERM => new ProgramException(ExitCode.Resource, $"{path} may not be opened for {(readOnly ? "reading" : "reading and writing")} by this user: check its owner and mode"),
        _ when error == EROFS => new ProgramException(ExitCode.Resource, $"{path} is read-only: export it with --read-only"),
        _ => new ProgramException(ExitCode.Resource, $"{path} cannot be opened: {PosixFile.Describe(error)}"),
    };

    [LoggerMessage(1, LogLevel.Warning, "{Path}: its file system refuses O_DIRECT; I/O goes through the page cache")]
    private static partial void LogNotDirect(ILogger log, string path);

    [LoggerMessage(2, LogLevel.Information, "{Path}: waiting for the lock of another backend, or for the last I/O of one that died")]
    private static partial void LogWaitingForLock(ILogger log, string path);

    [LoggerMessage(3, LogLevel.Warning, "{Path}: its last {Bytes} bytes are less than a block of {Block} bytes and are not exported")]
    private static partial void LogTail(ILogger log, string path, long bytes, int block);
}
