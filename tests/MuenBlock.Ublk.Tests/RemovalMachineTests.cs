using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Tests;

public sealed class RemovalMachineTests : IDisposable
{
    private readonly FakeSystem _files = new();
    private readonly RemovalMachine _machine;

    public RemovalMachineTests() => _machine = new RemovalMachine(new SystemFiles(_files.Root), DeviceHolders.Machine, Folder);

    private string Folder => _files.Root + "/run/muenblock";

    public void Dispose() => _files.Dispose();

    [Theory]
    [InlineData("12 (muenblock-ublk) S 1 12", true)]
    [InlineData("12 (a) Z b) R 1 12", true)]
    [InlineData("12 (muenblock-ublk) Z 1 12", false)]
    public void A_process_is_alive_until_it_has_ended(string status, bool alive)
    {
        _files.Write("/proc/12/stat", status + "\n");
        Assert.Equal(alive, _machine.IsAlive(12));
        Assert.False(_machine.IsAlive(13));
    }

    [Theory]
    [InlineData("/sys/class/ublk-char/ublkc3/dev", false, true)]
    [InlineData("/sys/block/ublkb3/dev", false, true)]
    [InlineData("/dev/ublkb3", true, true)]
    [InlineData("/dev/ublkc3", true, true)]
    [InlineData("/dev/ublkb3", false, false)] // a container's node stays for ever
    [InlineData("/dev/ublkb4", true, false)]
    public void Nodes_count_where_the_kernel_makes_them(string path, bool isDevtmpfs, bool has)
    {
        _files.Write(path, string.Empty);
        _files.Write("/proc/self/mountinfo", isDevtmpfs ? "30 29 0:5 / /dev rw,nosuid - devtmpfs udev rw\n" : "30 29 0:5 / /dev rw - tmpfs tmpfs rw\n31 30 0:6 / /x rw - devtmpfs udev rw\n");
        Assert.Equal(has, _machine.HasNodes(3));
    }

    [Fact]
    public void A_log_that_a_user_named_is_the_users()
    {
        Directory.CreateDirectory(Folder);
        string own = Folder + "/server-77.log";
        string users = Folder + "/mine.log";
        File.WriteAllText(own, "a");
        File.WriteAllText(users, "b");
        _machine.DeleteServerLog(DeviceRecordTests.Example(0, 77, users));
        _machine.DeleteServerLog(DeviceRecordTests.Example(0, 78, own));
        Assert.True(File.Exists(own) && File.Exists(users));
        _machine.DeleteServerLog(DeviceRecordTests.Example(0, 77, own));
        _machine.DeleteServerLog(DeviceRecordTests.Example(0, 77, own));
        Assert.False(File.Exists(own));
    }
}
