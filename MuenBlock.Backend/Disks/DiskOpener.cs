using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using Tmds.Linux;
using static Tmds.Linux.LibC;

namespace MuenBlock.Backend.Disks;

/// <summary>
/// Opens the disks of a process. A disk that is written is claimed against other backends (<see cref="FileClaim"/>), and a block device is
/// also opened with O_EXCL, which keeps file systems and other users away. A predecessor that was killed with I/O under way still has
/// both: O_EXCL would fail at once, so the claim comes first, through an opening without it, and waits for that I/O.
/// </summary>
/// <param name="readOnly">Whether the disks are only read.</param>
/// <param name="giveUp">Whether to wait no longer for the I/O of a predecessor.</param>
/// <param name="log">Where to say how they were opened.</param>
internal sealed partial class DiskOpener(bool readOnly, Func<bool> giveUp, ILogger log)
{
    /// <summary>How long a backend that lives may still take to end, as one does that was just asked to.</summary>
    public static readonly TimeSpan Grace = TimeSpan.FromSeconds(2);

    private const int SmallestBlock = 512;
    private const int LargestBlock = 4096; // a page: ublk's largest logical block

    // The kernel gives the two openings of a predecessor back one shortly after the other.
    private const long ExclusiveMilliseconds = 1_000;
    private const int LookMilliseconds = 10;

    /// <summary>Opens a disk.</summary>
    /// <param name="path">A block device, a partition or an image file.</param>
    /// <returns>The disk.</returns>
    /// <exception cref="ProgramException">It cannot be used; the message says why.</exception>
    public unsafe Disk Open(string path)
    {
        // The kind is needed before the flags: O_EXCL means nothing for a file, and opening a pipe would wait for its other end.
        using SafeFileHandle look = PosixFile.TryOpen(path, O_PATH, out int error) ?? throw CannotOpen(path, error);
        stat status;
        if (fstat(PosixFile.Descriptor(look), &status) != 0) throw CannotOpen(path, errno);
        bool isDevice = (status.st_mode & S_IFMT) == S_IFBLK;
        if (!isDevice && (status.st_mode & S_IFMT) != S_IFREG)
            throw new ProgramException(ExitCode.Resource, $"{path} is neither a block device nor a plain file: export one that is");
        if (readOnly) return OpenReadOnly(path, isDevice, status.st_rdev);
        return isDevice ? OpenDevice(path, status.st_rdev) : OpenImage(path);
    }

    private Disk OpenReadOnly(string path, bool isDevice, dev_t number)
    {
        SafeFileHandle file = TryOpenForIo(path, O_RDONLY, out bool direct, out int error) ?? throw CannotOpen(path, error);
        try
        {
            return isDevice ? FromDevice(path, file, fence: null, number, direct) : FromImage(path, file, fence: null, direct);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private Disk OpenImage(string path)
    {
        SafeFileHandle file = TryOpenForIo(path, O_RDWR, out bool direct, out int error) ?? throw CannotOpen(path, error);
        try
        {
            Claim(path, file);
            return FromImage(path, file, file, direct);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private Disk OpenDevice(string path, dev_t number)
    {
        SafeFileHandle fence = PosixFile.TryOpen(path, O_RDWR, out int error) ?? throw CannotOpen(path, error);
        SafeFileHandle? file = null;
        try
        {
            Claim(path, fence);
            file = OpenExclusively(path, out bool direct);
            return FromDevice(path, file, fence, number, direct);
        }
        catch
        {
            file?.Dispose();
            fence.Dispose();
            throw;
        }
    }

    private void Claim(string path, SafeFileHandle file)
    {
        switch (FileClaim.Take(file, path, Grace, () => LogWaiting(log, path), giveUp, out int holder))
        {
            case ClaimResult.Held:
                throw new ProgramException(ExitCode.Busy, $"{path} is exported for writing by another backend ({FileClaim.Describe(holder)}): stop that one, or export another disk");
            case ClaimResult.GivenUp:
                throw new ProgramException(ExitCode.Busy, $"asked to end while the last I/O of another backend on {path} was waited for");
            default:
                return;
        }
    }

    private SafeFileHandle OpenExclusively(string path, out bool direct)
    {
        long deadline = Environment.TickCount64 + ExclusiveMilliseconds;
        while (true)
        {
            SafeFileHandle? file = TryOpenForIo(path, O_RDWR | O_EXCL, out direct, out int error);
            if (file is not null) return file;
            if (error != EBUSY || Environment.TickCount64 >= deadline) throw CannotOpen(path, error);
            Thread.Sleep(LookMilliseconds);
        }
    }

    private SafeFileHandle? TryOpenForIo(string path, int flags, out bool direct, out int error)
    {
        SafeFileHandle? file = PosixFile.TryOpen(path, flags | O_DIRECT, out error);
        direct = file is not null;
        if (error != EINVAL) return file;
        file = PosixFile.TryOpen(path, flags, out error);
        if (file is not null) LogNotDirect(log, path);
        return file;
    }

    private Disk FromDevice(string path, SafeFileHandle file, SafeFileHandle? fence, dev_t number, bool direct)
    {
        if (fence is not null && BlockDeviceQueries.IsReadOnly(file))
            throw new ProgramException(ExitCode.Resource, $"{path} is read-only: export it with --read-only");
        int block = BlockDeviceQueries.LogicalBlockSize(file);
        long size = WholeBlocks(path, Math.Max(0, BlockDeviceQueries.Size(file)), block);
        bool discards = BlockDeviceQueries.QueueValue((ulong)number, "discard_max_bytes") > 0;
        bool rotational = BlockDeviceQueries.QueueValue((ulong)number, "rotational") > 0;
        return Create(path, file, fence, size, block, direct, discards ? DiscardMethod.Command : DiscardMethod.None, rotational, (ulong)number);
    }

    private Disk FromImage(string path, SafeFileHandle file, SafeFileHandle? fence, bool direct)
    {
        long length = RandomAccess.GetLength(file);
        int alignment = direct ? BlockDeviceQueries.DirectAlignment(file) : 0;
        int block = Math.Max(SmallestBlock, alignment);
        long size = WholeBlocks(path, length, block);
        ulong writable = FileSizeLimit.Bytes;
        if (fence is not null && (ulong)size > writable)
        {
            throw new ProgramException(
                ExitCode.Environment, $"{path} has {size} bytes, of which this process may write the first {writable}: raise the limit on the size of files (ulimit -f, LimitFSIZE)");
        }

        return Create(path, file, fence, size, block, direct, DiscardMethod.PunchHole, rotational: false, number: null);
    }

    private long WholeBlocks(string path, long length, int block)
    {
        long size = length / block * block;
        if (size != length) LogTail(log, path, length - size, block);
        return size;
    }

    private Disk Create(
        string path, SafeFileHandle file, SafeFileHandle? fence, long size, int block, bool direct, DiscardMethod discard, bool rotational, ulong? number)
    {
        if (block > LargestBlock || !int.IsPow2(block))
            throw new ProgramException(ExitCode.Resource, $"{path} has blocks of {block} bytes: 512 to {LargestBlock} can be served");
        if (size < block)
            throw new ProgramException(ExitCode.Resource, $"{path} is empty: it must have at least one block of {block} bytes");
        return new Disk(path, file, fence)
        {
            Identity = DiskNumber.Of(path),
            Size = (ulong)size,
            BlockLength = (uint)block,
            IsDirect = direct,
            IsRotational = rotational,
            DeviceNumber = number,
            IsOnLoop = number is { } device && DiskExtent.IsOnLoop(device),
            Smart = number is null ? null : SmartPage.TryRead(file),
            Discard = fence is null ? DiscardMethod.None : discard,
            WritesLost = errno => LogWritesLost(log, path, PosixFile.Describe(errno)),
        };
    }

    private ProgramException CannotOpen(string path, int error) => error switch
    {
        _ when error == ENOENT => new ProgramException(ExitCode.Resource, $"{path} does not exist: check the path, and that the disk is there"),
        _ when error == EBUSY => new ProgramException(ExitCode.Busy, $"{path} is in use (mounted, or held by another program): release it, or export it with --read-only"),
        _ when error == EACCES || error == EPERM => new ProgramException(ExitCode.Resource, $"{path} may not be opened for {(readOnly ? "reading" : "reading and writing")} by this user: check its owner and mode"),
        _ when error == EROFS => new ProgramException(ExitCode.Resource, $"{path} is read-only: export it with --read-only"),
        _ => new ProgramException(ExitCode.Resource, $"{path} cannot be opened: {PosixFile.Explain(error, "check the path and the disk; the kernel's log (dmesg) may say more")}"),
    };

    [LoggerMessage(1, LogLevel.Warning, "{Path}: its file system refuses O_DIRECT; I/O goes through the page cache")]
    private static partial void LogNotDirect(ILogger log, string path);

    [LoggerMessage(36, LogLevel.Error, "{Path}: a flush has failed ({Reason}), and writes that were acknowledged may be lost: every further flush fails; check the disk below it and what it holds, then restart the backend")]
    private static partial void LogWritesLost(ILogger log, string path, string reason);

    [LoggerMessage(2, LogLevel.Information, "{Path}: waiting for the last I/O of a backend that died, which may still write to it")]
    private static partial void LogWaiting(ILogger log, string path);

    [LoggerMessage(3, LogLevel.Warning, "{Path}: its last {Bytes} bytes are less than a block of {Block} bytes and are not exported")]
    private static partial void LogTail(ILogger log, string path, long bytes, int block);
}
