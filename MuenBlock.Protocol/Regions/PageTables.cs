using Tmds.Linux;
using static Tmds.Linux.LibC;

namespace MuenBlock.Protocol.Regions;

/// <summary>
/// Maps pages before they are used. Page tables that were made at the first use would be made while the machine waits for this very I/O, when it is
/// short of memory. MAP_POPULATE does nothing once a process has locked its memory with MCL_ONFAULT.
/// </summary>
internal static unsafe class PageTables
{
    private const int PopulateRead = 22; // MADV_POPULATE_READ, asm-generic/mman-common.h, since 5.14
    private const int PopulateWrite = 23; // MADV_POPULATE_WRITE

    /// <summary>Maps the pages of a range. Memory that has none (Muen's), and a kernel that does not know the advice, do without.</summary>
    /// <param name="memory">Its first byte, at the beginning of a page.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="writable">Whether they are to be written to.</param>
    /// <returns>False if a use of one of them would be a SIGBUS: it is not there, and its file system has no room for it.</returns>
    public static bool Fill(void* memory, nuint length, bool writable) =>
        madvise(memory, (size_t)(ulong)length, writable ? PopulateWrite : PopulateRead) == 0 || errno != EFAULT;
}
