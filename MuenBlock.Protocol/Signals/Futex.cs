using System.Runtime.InteropServices;
using Tmds.Linux;

namespace MuenBlock.Protocol.Signals;

/// <summary>The futex of a shared word, without a ring (futex(2)).</summary>
internal static unsafe partial class Futex
{
    private const long SystemCall = 202; // __NR_futex, asm/unistd_64.h
    private const int WaitFor = 0; // FUTEX_WAIT, linux/futex.h
    private const int Wake = 1; // FUTEX_WAKE, linux/futex.h; without FUTEX_PRIVATE_FLAG, as the waiter is another process
    private const int Efault = 14; // asm-generic/errno-base.h

    /// <summary>Wakes whoever sleeps on a word of shared memory.</summary>
    /// <param name="word">The word.</param>
    public static void WakeAll(uint* word) => _ = Call(SystemCall, word, Wake, int.MaxValue, 0, 0, 0);

    /// <summary>Sleeps until somebody wakes those who sleep on a word of shared memory; at once if it has another value. May end early for no reason.</summary>
    /// <param name="word">The word.</param>
    /// <param name="expected">The value with which to sleep.</param>
    /// <param name="nanoseconds">The longest that it may take; less than a second.</param>
    public static void Wait(uint* word, uint expected, long nanoseconds)
    {
        timespec longest = default;
        longest.tv_nsec = (long_t)nanoseconds;
        _ = Call(SystemCall, word, WaitFor, expected, (nint)(&longest), 0, 0);
    }

    /// <summary>
    /// Whether the kernel can take hold of the page of a word, as futexes between processes need: they are named by it. That fails where
    /// a mapping has no page of RAM behind it, with the same error for the same reason as pinning memory for I/O does (get_user_pages).
    /// </summary>
    /// <param name="word">The word.</param>
    /// <returns>Whether it can.</returns>
    public static bool Reaches(uint* word) => Call(SystemCall, word, Wake, 0, 0, 0, 0) >= 0 || Marshal.GetLastPInvokeError() != Efault;

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial long Call(long number, uint* word, long operation, long count, long timeout, long word2, long value3);
}
