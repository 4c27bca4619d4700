using Microsoft.Win32.SafeHandles;
using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Regions;
using static Tmds.Linux.LibC;

namespace MuenBlock.Protocol.Signals;

/// <summary>
/// The page with the futex of a channel that is only read, mapped once more and for writing, although nobody writes to it: to name a futex the
/// kernel first takes hold of its page for writing, and where it may not, it finds that out the slow way at each sleep (get_futex_key,
/// kernel/futex/core.c).
/// </summary>
internal sealed unsafe class FutexPage : IDisposable
{
    private readonly void* _page;

    private FutexPage(void* page) => _page = page;

    /// <summary>The futex: the low half of wc.</summary>
    public uint* Word => ChannelHeader.Futex((ChannelHeader*)_page);

    /// <summary>Maps it.</summary>
    /// <param name="region">The region of a channel.</param>
    /// <returns>The page; null where the file may only be read, as Muen's, or the system does not show its processes' files.</returns>
    public static FutexPage? TryMap(Region region)
    {
        // The same file, whatever its name stands for by now.
        string path = $"/proc/self/fd/{PosixFile.Descriptor(region.File)}";
        using SafeFileHandle? file = PosixFile.TryOpen(path, O_RDWR, out _);
        if (file is null) return null;
        void* page = mmap(null, Region.PageSize, PROT_READ | PROT_WRITE, MAP_SHARED, PosixFile.Descriptor(file), 0);
        if (page == MAP_FAILED) return null;
        PageTables.Fill(page, Region.PageSize, writable: true);
        return new FutexPage(page);
    }

    /// <inheritdoc/>
    public void Dispose() => _ = munmap(_page, Region.PageSize);
}
