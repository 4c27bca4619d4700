using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;
using MuenBlock.Protocol.Programs;
using Tmds.Linux;
using static Tmds.Linux.LibC;

namespace MuenBlock.Protocol.Regions;

/// <summary>Opens files with flags that <see cref="File"/> does not offer (open(2), flock(2)).</summary>
public static partial class PosixFile
{
    private const int LockExclusive = 2; // LOCK_EX, sys/file.h
    private const int LockNoWait = 4; // LOCK_NB

    /// <summary>Opens a file.</summary>
    /// <param name="path">Its path.</param>
    /// <param name="flags">open(2)'s flags; O_CLOEXEC is added.</param>
    /// <param name="errno">0, or why it could not be opened.</param>
    /// <param name="mode">The permissions of a file that is created.</param>
    /// <returns>The file, or null where <paramref name="errno"/> is not 0.</returns>
    public static unsafe SafeFileHandle? TryOpen(string path, int flags, out int errno, uint mode = 0)
    {
        byte[] name = Encoding.UTF8.GetBytes(path + '\0');
        int descriptor;
        fixed (byte* pointer = name)
        {
            do
            {
                descriptor = open(pointer, flags | O_CLOEXEC, (ushort)mode);
                errno = descriptor < 0 ? LibC.errno : 0;
            }
            while (errno == EINTR);
        }

        return descriptor < 0 ? null : new SafeFileHandle(descriptor, ownsHandle: true);
    }

    /// <summary>
    /// Takes an exclusive lock that belongs to this very opening of the file, unless another opening has it (flock(2)). The kernel gives
    /// it back when the last user of the opening is gone.
    /// </summary>
    /// <param name="file">The file.</param>
    /// <param name="path">Its path, for the message.</param>
    /// <returns>Whether the lock is held now; if not, another opening has it.</returns>
    /// <exception cref="ProgramException">Nobody can lock the file: waiting would not end.</exception>
    public static bool TryLock(SafeFileHandle file, string path)
    {
        if (Flock(Descriptor(file), LockExclusive | LockNoWait) == 0) return true;
        int error = Marshal.GetLastPInvokeError();

        // CIFS says EACCES of another's lock (cifs_lock_add_if, fs/smb/client/file.c).
        if (error != EWOULDBLOCK && error != EACCES) throw CannotLock(path, error);
        return false;
    }

    /// <summary>Why a file cannot be locked, where that is not another's lock.</summary>
    internal static ProgramException CannotLock(string path, int error) => new(
        ExitCode.Resource, $"{path} cannot be locked: {Explain(error, "its file system has to know flock(2) and record locks, as NFS does with its lock service or with -o local_lock=all")}");

    /// <summary>The file's descriptor number, for a system call; the caller keeps the handle open meanwhile.</summary>
    /// <param name="file">An open file.</param>
    /// <returns>The descriptor.</returns>
    public static int Descriptor(SafeFileHandle file)
    {
        ArgumentNullException.ThrowIfNull(file);
        return (int)file.DangerousGetHandle();
    }

    /// <summary>What an error number means, in the system's words.</summary>
    /// <param name="errno">A positive errno.</param>
    /// <returns>A phrase, such as "Permission denied".</returns>
    public static string Describe(int errno) => Marshal.GetPInvokeErrorMessage(errno);

    /// <summary>What an error number means, and what can be done.</summary>
    /// <param name="errno">A positive errno.</param>
    /// <param name="otherwise">What can be done about one that has no remedy of its own.</param>
    /// <returns>One or two phrases, such as "Too many open files: raise the limit on open files (ulimit -n, LimitNOFILE)".</returns>
    public static string Explain(int errno, string? otherwise = null)
    {
        string? remedy = errno switch
        {
            _ when errno == EMFILE || errno == ENFILE => "raise the limit on open files (ulimit -n, LimitNOFILE)",
            _ when errno == ENOSPC || errno == EDQUOT => "make room in its file system",
            _ when errno == EFBIG => "raise the limit on the size of files (ulimit -f, LimitFSIZE)",
            _ when errno == EACCES || errno == EPERM => "check owner and mode of the file and of its directory",
            _ when errno == ENOMEM => "free memory, or raise the process's limits on it",
            _ => otherwise,
        };
        return remedy is null ? Describe(errno) : $"{Describe(errno)}: {remedy}";
    }

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    private static partial int Flock(int descriptor, int operation);
}
