using System.Runtime.InteropServices;

namespace MuenBlock.Protocol.Signals;

/// <summary>The futex of a shared word, without a ring (futex(2)).</summary>
internal static unsafe partial class Futex
{
    private const long SystemCall = 202; // __NR_futex, asm/unistd_64.h
    private const int Wake = 1; // FUTEX_WAKE, linux/futex.h; without FUTEX_PRIVATE_FLAG, as the waiter is another process

    /// <summary>Wakes whoever sleeps on a word of shared memory.</summary>
    /// <param name="word">The word.</param>
    public static void WakeAll(uint* word) => _ = Call(SystemCall, word, Wake, int.MaxValue, 0, 0, 0);

    [LibraryImport("libc", EntryPoint = "syscall")]
    private static partial long Call(long number, uint* word, long operation, long count, long timeout, long word2, long value3);
}
