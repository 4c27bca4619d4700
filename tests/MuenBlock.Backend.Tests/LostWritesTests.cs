using Microsoft.Win32.SafeHandles;
using MuenBlock.Backend.Disks;
using Xunit;

namespace MuenBlock.Backend.Tests;

/// <summary>What a flush that failed means for the ones after it.</summary>
public sealed class LostWritesTests
{
    private const int Enospc = 28; // asm-generic/errno-base.h
    private const int Eio = 5;

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)] // its file system may take O_DIRECT as a hint
    [InlineData(true, true, true)] // the page cache is that of what lies below
    public void Behind_the_page_cache_no_flush_succeeds_after_one_that_failed_and_that_is_told_once(bool direct, bool isDevice, bool isOnLoop = false)
    {
        var told = new List<int>();
        using Disk disk = Make(direct, isDevice, told, isOnLoop);
        Assert.Equal(0, disk.EndFlush(0, isAnswered: true));
        Assert.Empty(told);
        Assert.Equal(-Enospc, disk.EndFlush(-Enospc, isAnswered: true));
        Assert.Equal(-Eio, disk.EndFlush(0, isAnswered: true));
        Assert.Equal(-Enospc, disk.EndFlush(-Enospc, isAnswered: true));
        Assert.Equal(-Eio, disk.EndFlush(0, isAnswered: true));
        Assert.Equal([Enospc], told);
    }

    [Fact]
    public void Of_a_device_without_the_page_cache_each_flush_tells_of_itself()
    {
        var told = new List<int>();
        using Disk disk = Make(direct: true, isDevice: true, told);
        Assert.Equal(-Eio, disk.EndFlush(-Eio, isAnswered: true));
        Assert.Equal(0, disk.EndFlush(0, isAnswered: true));
        Assert.Empty(told);
    }

    [Fact]
    public void A_failure_that_nobody_was_told_of_is_told_by_the_next_flush_that_is_answered_and_by_no_other()
    {
        using Disk disk = Make(direct: true, isDevice: true, []);
        Assert.Equal(-Eio, disk.EndFlush(-Eio, isAnswered: false));
        Assert.Equal(0, disk.EndFlush(0, isAnswered: false));
        Assert.Equal(-Eio, disk.EndFlush(0, isAnswered: true));
        Assert.Equal(0, disk.EndFlush(0, isAnswered: true));
    }

    private static Disk Make(bool direct, bool isDevice, List<int> told, bool isOnLoop = false) => new("disk", new SafeFileHandle(), null)
    {
        Identity = 1,
        Size = 4096,
        BlockLength = 512,
        IsDirect = direct,
        IsRotational = false,
        DeviceNumber = isDevice ? 1 : null,
        IsOnLoop = isOnLoop,
        Discard = DiscardMethod.None,
        WritesLost = told.Add,
    };
}
