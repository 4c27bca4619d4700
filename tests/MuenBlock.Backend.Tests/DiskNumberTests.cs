using MuenBlock.Backend.Disks;
using MuenBlock.Protocol.Messages;
using Xunit;

namespace MuenBlock.Backend.Tests;

/// <summary>What names a disk for good, by a description as in /sys, and what is one for an image.</summary>
public sealed class DiskNumberTests : IDisposable
{
    private readonly TestFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("wwid", "eui.0001", "wwid eui.0001")]
    [InlineData("device/wwid", "naa.5000c500", "device/wwid naa.5000c500")]
    [InlineData("serial", "disk-7", "serial disk-7")]
    [InlineData("dm/uuid", "LVM-abc", "dm/uuid LVM-abc")]
    [InlineData("serial", "", null)]
    [InlineData("size", "100", null)]
    public void A_disk_is_what_it_is_called(string file, string value, string? name)
    {
        _folder.Device("8:0", "sda", (file, value));
        Assert.Equal(name, NameOf(8, 0));
    }

    [Fact]
    public void A_partition_is_its_disk_and_where_it_begins_however_long_it_is()
    {
        _folder.Device("8:0", "sda", ("device/wwid", "naa.1"));
        _folder.Device("8:1", "sda/sda1", ("partition", "1"), ("start", "2048"), ("size", "2048"), ("uevent", "PARTUUID=1-2"));
        _folder.Device("8:2", "sda/sda2", ("partition", "2"), ("start", "4096"), ("size", "2048"));
        Assert.Equal("device/wwid naa.1\0from 2048", NameOf(8, 1));
        Assert.NotEqual(NameOf(8, 1), NameOf(8, 2));
        Assert.NotEqual(NameOf(8, 0), NameOf(8, 1));
    }

    [Fact]
    public void A_partition_of_a_disk_without_a_name_is_its_own_UUID()
    {
        _folder.Device("8:0", "sda");
        _folder.Device("8:1", "sda/sda1", ("partition", "1"), ("start", "2048"), ("uevent", "MAJOR=8\nPARTUUID=1-2\nPARTN=1"));
        _folder.Device("8:2", "sda/sda2", ("partition", "2"), ("start", "4096"), ("uevent", "MAJOR=8"));
        Assert.Equal("PARTUUID=1-2", NameOf(8, 1));
        Assert.Null(NameOf(8, 2));
    }

    [Fact]
    public void A_loop_device_is_its_file_from_its_offset()
    {
        string image = _folder.Image("image", 8192);
        _folder.Device("7:0", "loop0", ("loop/backing_file", image), ("loop/offset", "4096"));
        _folder.Device("7:1", "loop1", ("loop/backing_file", image), ("loop/offset", "0"));
        _folder.Device("7:2", "loop2", ("loop/backing_file", "/nowhere"), ("loop/offset", "0"));
        Assert.EndsWith("\0from 4096", NameOf(7, 0), StringComparison.Ordinal);
        Assert.NotEqual(NameOf(7, 0), NameOf(7, 1));
        Assert.Null(NameOf(7, 2));
    }

    [Fact]
    public void An_image_is_the_same_under_another_name_and_after_it_was_written_and_grew_and_a_copy_is_another()
    {
        string image = _folder.Image("image", 8192);
        ulong number = DiskNumber.Of(image);
        Assert.True(DiskIdentity.Differ(number, number ^ 2), "the number is for good");
        File.Copy(image, $"{_folder.Path}/copy");
        File.AppendAllText(image, "more");
        File.Move(image, $"{_folder.Path}/moved");
        File.CreateSymbolicLink(image, $"{_folder.Path}/moved");
        Assert.Equal(number, DiskNumber.Of(image));
        Assert.True(DiskIdentity.Differ(number, DiskNumber.Of($"{_folder.Path}/copy")));
    }

    [Theory]
    [InlineData(1ul, 3ul, true)]
    [InlineData(3ul, 3ul, false)]
    [InlineData(2ul, 3ul, true)]
    [InlineData(3ul, 2ul, true)]
    [InlineData(2ul, 4ul, false)]
    [InlineData(0ul, 3ul, false)]
    [InlineData(3ul, 0ul, false)]
    public void Disks_are_told_apart_over_a_restart_where_one_of_the_numbers_is_for_good(ulong before, ulong now, bool differ) => Assert.Equal(differ, DiskIdentity.Differ(before, now));

    [Fact]
    public void No_number_is_0()
    {
        Assert.Equal((1ul, 2ul), (DiskIdentity.ForGood(0), DiskIdentity.UntilReboot(0)));
        Assert.Equal((ulong.MaxValue, ulong.MaxValue - 1), (DiskIdentity.ForGood(ulong.MaxValue), DiskIdentity.UntilReboot(ulong.MaxValue)));
    }

    private string? NameOf(ulong major, ulong minor) => DiskNumber.NameOfDevice((major << 8) | minor, $"{_folder.Path}/block");
}
