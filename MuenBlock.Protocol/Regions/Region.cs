using Microsoft.Win32.SafeHandles;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Signals;
using Tmds.Linux;
using static Tmds.Linux.LibC;

namespace MuenBlock.Protocol.Regions;

/// <summary>
/// A region of memory that the two ends share: a file of a region directory, mapped whole. The memory stays mapped, and
/// its address valid, until <see cref="Dispose"/>, even if the file is truncated meanwhile: then the region is lost, and its
/// memory is this process's own until <see cref="TryRestore"/>.
/// </summary>
public sealed unsafe class Region : IDisposable
{
    /// <summary>Muen's default size of a request channel, in bytes: 1022 requests (docs/wire-format.md, "Connection").</summary>
    public const long DefaultRequestSize = 0x8000;

    /// <summary>Muen's default size of a response channel, in bytes: 1020 responses.</summary>
    public const long DefaultResponseSize = 0x4000;

    /// <summary>Muen's default size of a buffer, in bytes.</summary>
    public const long DefaultBufferSize = 0x100_0000;

    /// <summary>Regions are made of whole pages.</summary>
    public const int PageSize = 4096;

    // A file's times are as coarse as the kernel's tick: a change soon after another one may leave no trace of its own.
    private const int YoungSeconds = 1;

    // Two threads put mappings in each other's place: who looks for a loss, and who restores. Neither is hot.
    private readonly Lock _mapping = new();

    private readonly int _protection;
    private readonly int* _lost;
    private (long Seconds, long Nanoseconds) _changed;
    private bool _wasYoung = true;

    private Region(string path, SafeFileHandle file, in stat status, byte* memory, nuint length, int protection)
    {
        Path = path;
        Identity = ((ulong)status.st_dev, (ulong)status.st_ino);
        Mode = (UnixFileMode)((int)status.st_mode & 0xfff);
        File = file;
        Memory = memory;
        Length = length;
        _protection = protection;
        _lost = RegionGuard.Add(memory, length, protection);
    }

    /// <summary>The region's name in its directory.</summary>
    public string Name => System.IO.Path.GetFileName(Path);

    /// <summary>Where its file is.</summary>
    public string Path { get; }

    /// <summary>The device and the inode of its file.</summary>
    public (ulong Device, ulong Inode) Identity { get; }

    /// <summary>Who could do what with its file when it was opened.</summary>
    public UnixFileMode Mode { get; }

    /// <summary>The first byte. The other end may change anything behind it at any moment.</summary>
    public byte* Memory { get; private set; }

    /// <summary>The size, in bytes: a multiple of <see cref="PageSize"/>, at least one page.</summary>
    public nuint Length { get; }

    /// <summary>The file that is mapped.</summary>
    public SafeFileHandle File { get; }

    /// <summary>Whether it is mapped for writing.</summary>
    public bool IsWritable => (_protection & PROT_WRITE) != 0;

    /// <summary>Whether memory of the region was found to be gone. A plain load.</summary>
    public bool IsLost => Volatile.Read(ref *_lost) != 0;

    /// <summary>
    /// Whether the kernel can take hold of the region's pages, as I/O straight to them, registered buffers, and futexes need. It cannot
    /// where there is a mapping without pages of RAM behind it: Muen's regions, the memory of a PCI device. Found out by trying.
    /// </summary>
    public bool CanBePinned => Futex.Reaches((uint*)Memory);

    /// <summary>Whether a name can be a region's: one path component.</summary>
    /// <param name="name">The name.</param>
    /// <returns>True if it is not empty, not "." or "..", and has no slash.</returns>
    public static bool IsName(string name) =>
        !string.IsNullOrEmpty(name) && name is not ("." or "..") && !name.AsSpan().ContainsAny('/', '\0') && name.Length <= 255;

    /// <summary>Makes a region that is missing, readable and writable by its owner alone. One that exists is left as it is.</summary>
    /// <param name="directory">The region directory; made if it is missing.</param>
    /// <param name="name">The region's name.</param>
    /// <param name="size">Its size in bytes, a multiple of <see cref="PageSize"/>.</param>
    /// <returns>Whether it was made.</returns>
    public static bool CreateIfMissing(string directory, string name, long size)
    {
        string path = System.IO.Path.Combine(directory, name);

        // A restart needs neither space for another region nor a directory that can be written.
        if (System.IO.Path.Exists(path)) return false;
        try
        {
            Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ProgramException(ExitCode.Resource, $"cannot make the region directory {directory}: {e.Message}", e);
        }

        // It appears under its name only when it is whole: the other end waits for the name and must not map half a region.
        string draft = $"{path}.{Environment.ProcessId}.new";
        using SafeFileHandle? file = PosixFile.TryOpen(draft, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, out int error, 0b110_000_000);
        if (file is null) throw new ProgramException(ExitCode.Resource, $"cannot create region {path}: {PosixFile.Explain(error)}");
        try
        {
            // Real pages at once: a full file system is an error now, not a bus error later.
            error = posix_fallocate(PosixFile.Descriptor(file), 0, size);
            if (error != 0) throw new ProgramException(ExitCode.Resource, $"cannot give region {path} its {size} bytes: {PosixFile.Explain(error)}");
            return TryLink(draft, path);
        }
        finally
        {
            System.IO.File.Delete(draft);
        }
    }

    /// <summary>Maps a region.</summary>
    /// <param name="directory">The region directory.</param>
    /// <param name="name">The region's name.</param>
    /// <param name="writable">Whether it is mapped for writing.</param>
    /// <param name="minimum">The least size, in bytes, that can be used.</param>
    /// <param name="maximum">The largest, in bytes.</param>
    /// <returns>The region.</returns>
    /// <exception cref="ProgramException">It is missing, is not a plain file, is too small or too large, or may not be opened.</exception>
    public static Region Open(string directory, string name, bool writable, nuint minimum, long maximum = long.MaxValue)
    {
        string path = System.IO.Path.Combine(directory, name);
        SafeFileHandle file = PosixFile.TryOpen(path, (writable ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK, out int error)
            ?? throw CannotOpen(path, error, writable);
        try
        {
            stat status;
            if (fstat(PosixFile.Descriptor(file), &status) != 0) throw CannotOpen(path, errno, writable);
            if ((status.st_mode & S_IFMT) != S_IFREG)
                throw new ProgramException(ExitCode.Resource, $"region {path} is not a plain file: remove what is in its place");
            long size = (long)status.st_size;
            if (size < (long)minimum || size % PageSize != 0)
            {
                throw new ProgramException(
                    ExitCode.Resource,
                    $"region {path} has {size} bytes: it must have at least {minimum} and be a multiple of {PageSize}");
            }

            if (size > maximum) throw new ProgramException(ExitCode.Resource, $"region {path} has {size} bytes: a channel may have at most {maximum}; make it smaller");
            int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
            void* memory = mmap(null, (size_t)(ulong)size, protection, MAP_SHARED, PosixFile.Descriptor(file), 0);
            if (memory == MAP_FAILED) throw new ProgramException(ExitCode.Resource, $"cannot map region {path}: {PosixFile.Explain(errno)}");
            if (!PageTables.Fill(memory, (nuint)size, writable))
            {
                _ = munmap(memory, (size_t)(ulong)size);
                throw new ProgramException(ExitCode.Resource, $"region {path}: its file system has no room for all of its {size} bytes: make room (see df), or make the region smaller");
            }

            return new Region(path, file, status, (byte*)memory, (nuint)size, protection);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Looks whether the file has become smaller than the region. Whoever touches the memory finds that by itself; the kernel, which copies
    /// to and from a buffer that no program touches, would only fail again and again.
    /// </summary>
    /// <returns>Whether the region is lost.</returns>
    public bool LookForLoss()
    {
        if (IsLost || IsWhole()) return IsLost;
        lock (_mapping)
        {
            // Meanwhile the file may have become whole again, and the region been restored: private memory would take its place unnoticed.
            if (IsLost || IsWhole()) return IsLost;
            Volatile.Write(ref *_lost, 1);

            // Where that fails the file is still mapped, and whoever touches what is gone calls the guard's handler, which tries again.
            _ = RegionGuard.Replace(_lost);
            return true;
        }
    }

    /// <summary>
    /// Whether the region may have other pages than at the last call: its file was truncated, and was whole again before anybody
    /// looked. The memory shows the new pages; a registration with a ring has the old ones. Its thread alone may ask.
    /// </summary>
    /// <returns>False only if nobody has changed the file.</returns>
    public bool MayHaveOtherPages()
    {
        stat status;
        if (fstat(PosixFile.Descriptor(File), &status) != 0) return true;
        (long, long) changed = ((long)status.st_ctim.tv_sec, (long)status.st_ctim.tv_nsec);
        bool same = changed == _changed && !_wasYoung;
        _changed = changed;
        _wasYoung = IsYoung(DateTimeOffset.UtcNow.ToUnixTimeSeconds() - (long)status.st_ctim.tv_sec);
        return !same;
    }

    /// <summary>Whether a change may have another one behind it of the same time. One of the future, from before the clock was set back, has not.</summary>
    /// <param name="age">How many seconds ago it was.</param>
    internal static bool IsYoung(long age) => age is >= -YoungSeconds and <= YoungSeconds;

    /// <summary>Maps the file of a lost region again, once it has its size again. Its thread alone may do so.</summary>
    /// <returns>Whether the region is no longer lost.</returns>
    public bool TryRestore()
    {
        if (!IsLost) return true;
        lock (_mapping)
        {
            // The memory in its place is emptied. It must not be the file that is.
            if (!IsWhole() || !RegionGuard.Replace(_lost)) return false;
            if (munlock(Memory, (size_t)(ulong)Length) == 0) _ = madvise(Memory, (size_t)(ulong)Length, MADV_REMOVE); // not of what is locked
            if (mmap(Memory, (size_t)(ulong)Length, _protection, MAP_SHARED | MAP_FIXED, PosixFile.Descriptor(File), 0) == MAP_FAILED) return false;
            if (!PageTables.Fill(Memory, Length, IsWritable))
            {
                _ = RegionGuard.Replace(_lost);
                return false;
            }

            Volatile.Write(ref *_lost, 0);
            return true;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Memory == null) return;
        RegionGuard.Remove(_lost);
        _ = munmap(Memory, (size_t)(ulong)Length);
        Memory = null;
        File.Dispose();
    }

    private bool IsWhole()
    {
        stat status;
        return fstat(PosixFile.Descriptor(File), &status) == 0 && (long)status.st_size >= (long)Length;
    }

    /// <summary>Gives a draft its name, unless that is taken.</summary>
    /// <param name="draft">The draft's path.</param>
    /// <param name="path">The region's.</param>
    /// <returns>False if it is taken.</returns>
    internal static bool TryLink(string draft, string path)
    {
        byte[] from = System.Text.Encoding.UTF8.GetBytes(draft + '\0');
        byte[] to = System.Text.Encoding.UTF8.GetBytes(path + '\0');
        fixed (byte* oldName = from)
        fixed (byte* newName = to)
        {
            if (link(oldName, newName) == 0) return true;
        }

        int error = errno;
        return error == EEXIST ? false : throw new ProgramException(ExitCode.Resource, $"cannot create region {path}: {PosixFile.Explain(error)}");
    }

    private static ProgramException CannotOpen(string path, int error, bool writable)
    {
        string remedy = error switch
        {
            _ when error == ENOENT && path.StartsWith($"{RegionDirectory.Muen}/", StringComparison.Ordinal) => "is missing: check the name against the policy's logical names for this subject, and that muenfs is mounted",
            _ when error == ENOENT => "is missing: start the backend with --create-regions, or check the name and --region-dir",
            _ when error == EACCES => $"may not be opened for {(writable ? "reading and writing" : "reading")} by this user: check its owner and mode",
            _ when error == ELOOP => "is a symbolic link: name the region itself",
            _ when error == EISDIR => "is a directory: remove what is in its place",
            _ => $"cannot be opened: {PosixFile.Explain(error)}",
        };
        return new ProgramException(ExitCode.Resource, $"region {path} {remedy}");
    }
}
