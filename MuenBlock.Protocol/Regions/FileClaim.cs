using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using MuenBlock.Protocol.Programs;
using static Tmds.Linux.LibC;

namespace MuenBlock.Protocol.Regions;

/// <summary>How the attempt to claim a file ended.</summary>
public enum ClaimResult
{
    /// <summary>The file is this process's now.</summary>
    Claimed,

    /// <summary>A living process has it.</summary>
    Held,

    /// <summary>The caller did not want to wait any longer.</summary>
    GivenUp,
}

/// <summary>
/// Claims a file that one process at a time may use through a ring: a region, a disk. Two locks tell a predecessor that lives, which is
/// not disturbed, from one that died, whose last I/O is waited for.
/// <list type="number">
/// <item>The life lock (a record lock, F_SETLK of fcntl(2)) belongs to the process and is gone as soon as that has ended.</item>
/// <item>The fence (flock(2)) belongs to the opening of the file. An opening that is registered with a ring lives until the last request of
/// that ring has ended (io_ring_exit_work in io_uring/io_uring.c), which may be long after its process was killed.</item>
/// </list>
/// The fence is taken first: who holds it is the owner, whatever became of the other lock. Neither lock means anything to the other on a
/// local file system. Where a network file system makes one of the other, every holder looks alive.
/// </summary>
public static partial class FileClaim
{
    private const int GetRecordLock = 5; // F_GETLK, asm-generic/fcntl.h, 64 bits
    private const int SetRecordLock = 6; // F_SETLK
    private const short WriteLock = 1; // F_WRLCK
    private const short NoLock = 2; // F_UNLCK
    private const uint Exiting = 4; // PF_EXITING, linux/sched.h, in the ninth field of /proc/PID/stat

    private const string Processes = "/proc";

    private const int LookMilliseconds = 10;

    // A file that was let go of, or whose owner was killed, just now is free after a moment. Waiting for longer is worth a line.
    private const long QuietMilliseconds = 250;

    // struct flock (asm-generic/fcntl.h).
    [StructLayout(LayoutKind.Sequential)]
    private struct RecordLock
    {
        public short Type;
        public short Whence;
        public long Start;
        public long Length;
        public int Pid;
    }

    /// <summary>
    /// Claims a file. The claim ends with its opening: when the handle is closed, here and in every ring that it was registered with.
    /// No other opening of the file may be closed in this process meanwhile, as the life lock would go with it (fcntl(2)).
    /// </summary>
    /// <param name="file">The file, open for writing.</param>
    /// <param name="path">Its path, for the message.</param>
    /// <param name="grace">How long an owner that lives may still take to end.</param>
    /// <param name="waiting">Called once if the last I/O of an owner that died has to be waited for.</param>
    /// <param name="giveUp">Whether to wait no longer; asked again and again.</param>
    /// <param name="holder">The process that has the file, after <see cref="ClaimResult.Held"/>; 0 if it cannot be seen from here.</param>
    /// <returns>How it ended.</returns>
    /// <exception cref="ProgramException">Nobody can claim the file, as it cannot be locked.</exception>
    public static ClaimResult Take(SafeFileHandle file, string path, TimeSpan grace, Action waiting, Func<bool> giveUp, out int holder)
    {
        ArgumentNullException.ThrowIfNull(waiting);
        ArgumentNullException.ThrowIfNull(giveUp);
        int descriptor = PosixFile.Descriptor(file);
        long start = Environment.TickCount64;
        bool told = false;
        while (!PosixFile.TryLock(file, path))
        {
            long waited = Environment.TickCount64 - start;
            bool lives = IsHeldByLiving(descriptor, path, out holder);
            if (lives && waited >= grace.TotalMilliseconds) return ClaimResult.Held;
            if (!lives && !told && waited >= QuietMilliseconds)
            {
                told = true;
                waiting();
            }

            if (giveUp()) return ClaimResult.GivenUp;
            Thread.Sleep(LookMilliseconds);
        }

        holder = 0;
        var life = new RecordLock { Type = WriteLock };
        if (Fcntl(descriptor, SetRecordLock, ref life) == 0) return ClaimResult.Claimed;

        // Where a network file system makes a record lock of the fence, the two are in each other's way, and the fence tells of a life as well.
        int error = Marshal.GetLastPInvokeError();
        return error == EAGAIN || error == EACCES ? ClaimResult.Claimed : throw PosixFile.CannotLock(path, error);
    }

    /// <summary>Names the holder of a claim, for a message.</summary>
    /// <param name="holder">What <see cref="Take"/> gave.</param>
    /// <returns>One phrase.</returns>
    public static string Describe(int holder) => Describe(holder, Processes);

    /// <summary>Names it by what a folder such as /proc shows.</summary>
    internal static string Describe(int holder, string processes) =>
        holder <= 0 ? "a process of another PID namespace"
        : File.Exists($"{processes}/{holder}/stat") ? $"process {holder}"
        : $"process {holder}, which is hidden from this user, so that it cannot be told whether it is about to end";

    /// <summary>Whether a process is there that is not about to end. One that was killed may stay for as long as an I/O of its workers does.</summary>
    /// <param name="pid">The process.</param>
    /// <param name="processes">Where processes are described: /proc.</param>
    /// <returns>True also for a process that cannot be looked at.</returns>
    internal static bool IsLiving(int pid, string processes = Processes)
    {
        try
        {
            // "pid (name) state ppid pgrp session tty tpgid flags …"; a name may hold anything, also a parenthesis (proc(5)).
            string stat = File.ReadAllText($"{processes}/{pid}/stat");
            string[] fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
            return fields[0] is not ("Z" or "X") && (uint.Parse(fields[6], CultureInfo.InvariantCulture) & Exiting) == 0;
        }
        catch (IOException)
        {
            // There is none, or it ended while it was looked at. Or it is hidden (hidepid of proc(5), ProtectProc of systemd), as a backend is
            // from its own user too, once it is not dumpable: it may live, and its disk may be written.
            return kill(pid, 0) == 0 || errno != ESRCH;
        }
        catch (UnauthorizedAccessException)
        {
            return true;
        }
    }

    private static bool IsHeldByLiving(int descriptor, string path, out int holder)
    {
        var life = new RecordLock { Type = WriteLock };
        if (Fcntl(descriptor, GetRecordLock, ref life) != 0) throw PosixFile.CannotLock(path, Marshal.GetLastPInvokeError());
        bool held = life.Type != NoLock;
        holder = held ? life.Pid : 0;

        // A process of another PID namespace has no number here.
        return held && (holder <= 0 || IsLiving(holder));
    }

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int Fcntl(int descriptor, int command, ref RecordLock argument);
}
