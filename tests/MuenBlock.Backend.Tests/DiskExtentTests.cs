using MuenBlock.Backend.Disks;
using MuenBlock.Backend.Exports;
using MuenBlock.Protocol;
using MuenBlock.Protocol.Programs;
using Xunit;

namespace MuenBlock.Backend.Tests;

/// <summary>Which bytes a disk, a partition, a loop device stands for, by a description as in /sys.</summary>
public sealed class DiskExtentTests : IDisposable
{
    private readonly TestFolder _folder = new();

    public DiskExtentTests()
    {
        // The disk 8:0 with three partitions, of which the last two overlap; the loop device 7:0 on an image, with a partition.
        _folder.Device("8:0", "sda");
        _folder.Device("8:1", "sda/sda1", ("partition", "1"), ("start", "2048"), ("size", "2048"));
        _folder.Device("8:2", "sda/sda2", ("partition", "2"), ("start", "4096"), ("size", "4096"));
        _folder.Device("8:3", "sda/sda3", ("partition", "3"), ("start", "8191"), ("size", "1"));
        _ = _folder.Image("image", 1 << 20);
        _folder.Device("7:0", "loop0", ("loop/backing_file", $"{_folder.Path}/image"), ("loop/offset", "65536"));
        _folder.Device("7:1", "loop0/loop0p1", ("partition", "1"), ("start", "8"), ("size", "8"));
    }

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(8, 0, 8, 0, true)]
    [InlineData(8, 0, 8, 1, true)]
    [InlineData(8, 2, 8, 0, true)]
    [InlineData(8, 1, 8, 2, false)]
    [InlineData(8, 2, 8, 3, true)]
    [InlineData(8, 1, 8, 3, false)]
    [InlineData(8, 0, 7, 0, false)]
    [InlineData(7, 0, 7, 1, true)]
    public void Disks_overlap_where_they_have_a_byte_in_common(ulong major, ulong minor, ulong otherMajor, ulong otherMinor, bool overlap)
    {
        DiskExtent one = Of(major, minor);
        DiskExtent other = Of(otherMajor, otherMinor);
        Assert.Equal(overlap, one.Overlaps(other));
        Assert.Equal(overlap, other.Overlaps(one));
    }

    [Theory]
    [InlineData(7, 0, true)]
    [InlineData(7, 1, true)]
    [InlineData(253, 0, true)]
    [InlineData(8, 0, false)]
    [InlineData(8, 1, false)]
    [InlineData(253, 1, false)]
    [InlineData(99, 0, false)]
    public void A_loop_device_its_partitions_and_what_is_made_of_them_lie_on_a_loop_device(ulong major, ulong minor, bool expected)
    {
        _folder.Device("253:0", "dm-0");
        _folder.Device("253:1", "dm-1");
        Directory.CreateDirectory($"{_folder.Path}/devices/dm-0/slaves");
        Directory.CreateDirectory($"{_folder.Path}/devices/dm-1/slaves");
        Directory.CreateSymbolicLink($"{_folder.Path}/devices/dm-0/slaves/sda1", "../../sda/sda1");
        Directory.CreateSymbolicLink($"{_folder.Path}/devices/dm-0/slaves/loop0p1", "../../loop0/loop0p1");
        Directory.CreateSymbolicLink($"{_folder.Path}/devices/dm-1/slaves/sda1", "../../sda/sda1");
        Assert.Equal(expected, DiskExtent.IsOnLoop((major << 8) | minor, $"{_folder.Path}/block"));
    }

    [Fact]
    public void A_loop_device_is_a_part_of_its_image()
    {
        DiskExtent image = DiskExtent.Of($"{_folder.Path}/image");
        Assert.Equal((65536ul + 4096, 65536ul + 8192), (Of(7, 1).Start, Of(7, 1).End));
        Assert.True(Of(7, 1).Overlaps(image));
        Assert.True(Of(7, 0).Overlaps(image));
        Assert.Equal(image.Storage, Of(7, 1).Storage);
    }

    [Fact]
    public void An_image_is_one_file_whatever_its_names_and_a_path_that_leads_nowhere_is_itself()
    {
        File.CreateSymbolicLink($"{_folder.Path}/link", $"{_folder.Path}/image");
        Assert.Equal(DiskExtent.Of($"{_folder.Path}/image"), DiskExtent.Of($"{_folder.Path}/./link"));
        Assert.True(DiskExtent.Of("/nowhere/a").Overlaps(DiskExtent.Of("/nowhere/b/../a")));
        Assert.False(DiskExtent.Of("/nowhere/a").Overlaps(DiskExtent.Of("/nowhere/b")));
    }

    [Fact]
    public void One_image_is_not_written_over_two_connections_but_may_be_read()
    {
        File.CreateSymbolicLink($"{_folder.Path}/link", $"{_folder.Path}/image");
        IReadOnlyList<ConnectionString> connections = ConnectionString.ParseList("1:a:b:c,2:d:e:f");
        IReadOnlyList<DeviceString> devices = DeviceString.ParseList($"{_folder.Path}/other:1,{_folder.Path}/image:1,{_folder.Path}/link:2");
        ProgramException failure = Assert.Throws<ProgramException>(() => ExportPlan.Make(connections, devices, readOnly: false));
        Assert.Equal(ExitCode.Usage, failure.ExitCode);
        Assert.Contains("exported for writing twice", failure.Message, StringComparison.Ordinal);
        Assert.Equal(2, ExportPlan.Make(connections, devices, readOnly: true).Count);
    }

    [Fact]
    public void One_image_is_written_over_several_connections_that_are_queues_of_one_device()
    {
        IReadOnlyList<ConnectionString> connections = ConnectionString.ParseList("1:a:b:c,2:d:e:f");
        IReadOnlyList<DeviceString> devices = DeviceString.ParseList($"{_folder.Path}/other:2,{_folder.Path}/image:2+1");
        IReadOnlyList<Export> plan = ExportPlan.Make(connections, devices, readOnly: false);
        Assert.Equal([devices[1]], plan[0].Devices);
        Assert.Equal([devices[0], devices[1]], plan[1].Devices);
        Assert.Same(plan[0].Devices[0], plan[1].Devices[1]);
        foreach (string wrong in new[] { "image:1+1", "image:1+", "image:+1", "image:1+x" }) Assert.Throws<ProgramException>(() => DeviceString.Parse(wrong));
        Assert.Contains("names connection 3", Assert.Throws<ProgramException>(() => ExportPlan.Make(connections, DeviceString.ParseList("x:1+3,y:2"), readOnly: true)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_one_disk_has_one_identity()
    {
        File.CreateSymbolicLink($"{_folder.Path}/link", $"{_folder.Path}/image");
        Assert.Equal(DiskNumber.Of($"{_folder.Path}/image"), DiskNumber.Of($"{_folder.Path}/link"));
        Assert.NotEqual(DiskNumber.Of($"{_folder.Path}/image"), DiskNumber.Of($"{_folder.Path}/other"));
        Assert.NotEqual(0ul, DiskNumber.Of("/nowhere"));
    }

    private DiskExtent Of(ulong major, ulong minor) => DiskExtent.OfDevice((major << 8) | minor, $"{_folder.Path}/block");
}
