using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Tests;

/// <summary>Whoever uses a device is named in words that follow "/dev/ublkb0 is".</summary>
public sealed class DeviceHoldersTests : IDisposable
{
    private const string Mount = "36 25 259:5 / {0} rw,relatime shared:1 - ext4 /dev/ublkb0 rw\n";

    private readonly FakeSystem _files = new();
    private readonly Dictionary<string, DeviceNumber> _nodes = [];
    private readonly DeviceHolders _holders;

    public DeviceHoldersTests()
    {
        var system = new SystemFiles(_files.Root);
        _holders = new DeviceHolders(system, new OpenFiles(system, path => _nodes.TryGetValue(system.Link(path[_files.Root.Length..]) ?? path, out DeviceNumber number) ? number : null));

        // /dev/ublkb0 with two partitions, beside a device whose name begins alike.
        _files.Write("/sys/block/ublkb0/dev", "259:5\n");
        _files.Write("/sys/block/ublkb0/ublkb0p1/dev", "259:6\n");
        _files.Write("/sys/block/ublkb0/ublkb0p2/dev", "259:7\n");
        _files.Write("/sys/block/ublkb01/dev", "259:9\n");
        _files.Write("/sys/class/ublk-char/ublkc0/dev", "237:0\n");
        _nodes["/dev/ublkb0"] = new DeviceNumber(true, 259, 5);
        _nodes["/dev/ublkb0p1"] = new DeviceNumber(true, 259, 6);
        _nodes["/srv/node"] = new DeviceNumber(true, 259, 5);
        _nodes["/dev/ublkb01"] = new DeviceNumber(true, 259, 9);
        _nodes["/dev/ublkc0"] = new DeviceNumber(false, 237, 0);
        _nodes["/dev/odd"] = new DeviceNumber(false, 259, 5);
        Process("self", "mnt:[1]", string.Empty);
    }

    public void Dispose() => _files.Dispose();

    [Fact]
    public void A_device_that_nobody_uses_has_no_holders()
    {
        Process("20", "mnt:[1]", "36 25 8:1 / / rw - ext4 /dev/sda1 rw\n", "cat", "/dev/null", "/dev/ublkb01", "socket:[1]", "/dev/odd");
        Assert.Empty(_holders.Of(0));
    }

    [Fact]
    public void A_mount_is_named_once_however_many_processes_see_it()
    {
        Process("20", "mnt:[1]", Format(Mount, "/mnt"));
        Process("21", "mnt:[1]", Format(Mount, "/mnt"));
        _files.Write("/proc/self/mountinfo", Format(Mount, "/mnt"));
        Assert.Equal(["mounted on /mnt"], _holders.Of(0));
    }

    [Fact]
    public void A_mount_of_another_namespace_is_named_with_a_process_that_sees_it()
    {
        _files.Write("/proc/self/mountinfo", Format(Mount, "/mnt"));
        Process("20", "mnt:[1]", Format(Mount, "/mnt"));
        Process("30", "mnt:[2]", Format(Mount, "/data"), "nginx");
        Process("31", "mnt:[2]", Format(Mount, "/data"), "nginx");
        Process("40", "mnt:[3]", Format(Mount, "/mnt"), "other");
        Assert.Equal(["mounted on /mnt", "mounted on /data, as nginx (pid 30) sees it"], _holders.Of(0));
    }

    [Fact]
    public void A_mount_of_a_partition_names_the_partition()
    {
        _files.Write("/proc/self/mountinfo", "36 25 259:7 / /var rw - xfs /dev/ublkb0p2 rw\n");
        Assert.Equal(["mounted on /var (/dev/ublkb0p2)"], _holders.Of(0));
    }

    [Fact]
    public void A_file_system_with_a_number_of_its_own_is_known_by_its_source()
    {
        _files.Write("/proc/self/mountinfo", "36 25 0:51 /@home /home rw shared:9 master:2 - btrfs /dev/ublkb0 rw\n");
        Assert.Equal(["mounted on /home"], _holders.Of(0));
    }

    [Fact]
    public void Escaped_characters_of_a_mount_point_are_shown_as_they_are()
    {
        _files.Write("/proc/self/mountinfo", Format(Mount, @"/a\040b\134\011c\9"));
        Assert.Equal(["mounted on /a b\\\tc\\9"], _holders.Of(0));
    }

    [Fact]
    public void Swap_on_the_disk_or_a_partition_is_use()
    {
        _files.Write("/proc/swaps", "Filename\t\t\tType\t\tSize\n/dev/ublkb0                             partition\t1\n/dev/ublkb0p1 partition 1\n/dev/ublkb01 partition 1\n");
        Assert.Equal(["in use as swap", "in use as swap (/dev/ublkb0p1)"], _holders.Of(0));
    }

    [Fact]
    public void What_is_stacked_upon_it_is_named()
    {
        _files.Write("/sys/block/ublkb0/holders/dm-3", string.Empty);
        _files.Write("/sys/block/dm-3/dm/name", "vg-root\n");
        _files.Write("/sys/block/ublkb0/ublkb0p1/holders/md0", string.Empty);
        _files.Write("/sys/block/loop7/loop/backing_file", "/dev/ublkb0p2\n");
        Assert.Equal(["used by dm-3 (vg-root)", "used by md0 (/dev/ublkb0p1)", "used by loop7 (/dev/ublkb0p2)"], _holders.Of(0));
    }

    [Fact]
    public void Whoever_has_it_open_is_named_whatever_the_node_is_called()
    {
        Process("20", "mnt:[1]", string.Empty, "fio", "/dev/ublkb0", "/dev/ublkb0");
        Process("21", "mnt:[1]", string.Empty, "cat", "/dev/null", "/srv/node");
        Process("22", "mnt:[1]", string.Empty, "mke2fs", "/dev/ublkb0p1");
        Assert.Equal(["open in fio (pid 20)", "open in cat (pid 21)", "open in mke2fs (pid 22)"], _holders.Of(0));
    }

    [Fact]
    public void The_server_is_who_has_the_character_device_open()
    {
        Process("20", "mnt:[1]", string.Empty, "fio", "/dev/ublkb0");
        Process("21", "mnt:[1]", string.Empty, "muenblock-ublk", "/dev/ublkc0");
        Assert.Equal([21], _holders.ServersOf(0));
        Assert.Empty(_holders.ServersOf(1));
    }

    // Such as the second disk of a btrfs: no mount names it, and no process has it open.
    [Fact]
    public void What_only_the_kernel_uses_is_said_to_be_the_kernels()
    {
        Assert.Equal([DeviceHolders.Claimed], _holders.Of(0, id => id == 0));
        Assert.Empty(_holders.Of(0, _ => false));
        _files.Write("/proc/self/mountinfo", Format(Mount, "/mnt"));
        Assert.Equal(["mounted on /mnt"], _holders.Of(0, _ => true));
    }

    // Its server may be the one that asks, and would be needed to end the I/O.
    [Fact]
    public void The_kernel_is_not_asked_while_IO_is_under_way()
    {
        _files.Write("/sys/block/ublkb0/inflight", "       0        1\n");
        Assert.Empty(_holders.Of(0, _ => throw new InvalidOperationException("the device was opened")));
    }

    [Fact]
    public void A_device_that_does_not_exist_has_no_holders() => Assert.Empty(_holders.Of(9));

    [Fact]
    public void Device_nodes_are_told_by_their_numbers()
    {
        Assert.Equal(new DeviceNumber(false, 1, 3), OpenFiles.Identify("/dev/null"));
        Assert.Null(OpenFiles.Identify(_files.Root));
        Assert.Null(OpenFiles.Identify("/nowhere"));
    }

    [Fact]
    public void This_process_is_found_through_what_it_has_open()
    {
        using FileStream open = File.OpenRead("/dev/full");
        var files = new OpenFiles(SystemFiles.Machine, OpenFiles.Identify);
        Assert.Contains(Environment.ProcessId, files.Of(new HashSet<DeviceNumber> { new(false, 1, 7) }));
    }

    [Theory]
    [InlineData("259:5", 259, 5)]
    [InlineData("0:0", 0, 0)]
    public void A_device_number_is_read(string text, uint major, uint minor) =>
        Assert.Equal(new DeviceNumber(true, major, minor), DeviceNumber.Parse(text, isBlock: true));

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("8")]
    [InlineData("8:")]
    [InlineData("8:1:2")]
    [InlineData("-8:1")]
    public void What_is_no_device_number_is_not_taken_for_one(string? text) => Assert.Null(DeviceNumber.Parse(text, isBlock: true));

    [Fact]
    public void Devices_are_listed_in_the_order_of_their_numbers()
    {
        foreach (string name in (string[])["ublkc10", "ublkc9", "ublkc", "ublkcx", "ublkc-1", "ublkb3"]) _files.Write($"/sys/class/ublk-char/{name}/dev", string.Empty);
        Assert.Equal([0, 9, 10], DeviceDirectory.Ids(new SystemFiles(_files.Root)));
        Assert.Empty(DeviceDirectory.Ids(new SystemFiles("/nowhere")));
    }

    private static string Format(string line, string mount) => line.Replace("{0}", mount, StringComparison.Ordinal);

    private void Process(string pid, string mountNamespace, string mounts, string command = "sh", params string[] open)
    {
        _files.Write($"/proc/{pid}/comm", command + "\n");
        _files.Write($"/proc/{pid}/mountinfo", mounts);
        _files.Link($"/proc/{pid}/ns/mnt", mountNamespace);
        for (int i = 0; i < open.Length; i++) _files.Link($"/proc/{pid}/fd/{i}", open[i]);
    }
}
