using System.Diagnostics;
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

    // The first namespace's number is the same on every machine.
    [Theory]
    [InlineData("pid:[4026531836]", true)]
    [InlineData("pid:[4026532281]", false)]
    public void All_processes_are_seen_from_the_first_PID_namespace(string name, bool all)
    {
        Assert.StartsWith("pid:[", SystemFiles.Machine.Link("/proc/self/ns/pid"), StringComparison.Ordinal);
        Assert.False(_machine.SeesAllProcesses);
        _files.Write("/proc/self/ns/mnt", string.Empty); // of a kernel that has other namespaces
        Assert.True(_machine.SeesAllProcesses);
        _files.Link("/proc/self/ns/pid", name);
        Assert.Equal(all, _machine.SeesAllProcesses);
    }

    // The flags are the seventh field after the command, the time of the start the twentieth; PF_EXITING is 4.
    [Theory]
    [InlineData("S 1 12 12 0 -1 1077936128 1 2 3 4 5 6 7 8 20 0 9 0 4711", "0000000000000000", "0000000000000000", false)]
    [InlineData("S 1 12 12 0 -1 1077936128 1 2 3 4 5 6 7 8 20 0 9 0 4711", "0000000000004000", "0000000000000000", false)]
    [InlineData("S 1 12 12 0 -1 1077936128 1 2 3 4 5 6 7 8 20 0 9 0 4711", "0000000000000100", "0000000000000000", true)]
    [InlineData("S 1 12 12 0 -1 1077936128 1 2 3 4 5 6 7 8 20 0 9 0 4711", "0000000000000000", "0000000000000100", true)]
    [InlineData("R 1 12 12 0 -1 1077936132 1 2 3 4 5 6 7 8 20 0 9 0 4711", "0000000000000000", "0000000000000000", true)]
    [InlineData("Z 1 12 12 0 -1 1077936132 1 2 3 4 5 6 7 8 20 0 9 0 4711", "0000000000000000", "0000000000000000", true)]
    public void A_process_that_was_killed_is_ending_before_it_has_ended(string stat, string thread, string group, bool ending)
    {
        _files.Write("/proc/12/stat", $"12 (a) b) {stat} 1 2\n");
        _files.Write("/proc/12/status", $"Name:\ta\nSigPnd:\t{thread}\nShdPnd:\t{group}\nSigBlk:\tffffffffffffffff\n");
        Assert.Equal(ending, _machine.IsEnding(12));
        Assert.True(_machine.IsEnding(13));
        Assert.Equal(4711ul, ServerProcess.StartTime(new SystemFiles(_files.Root), 12));
        Assert.Null(ServerProcess.StartTime(new SystemFiles(_files.Root), 13));
    }

    [Theory]
    [InlineData("0000000000000200", true)]
    [InlineData("fffffffffffffdff", false)]
    [InlineData("", false)]
    public void A_server_that_would_be_ended_by_the_signal_that_asks_it_is_not_asked(string caught, bool notes)
    {
        const int lookNow = 10; // SIGUSR1
        _files.Write("/proc/12/status", $"Name:\ta\nSigIgn:\tffffffffffffffff\nSigCgt:\t{caught}\n");
        Assert.Equal(notes, ServerProcess.Notes(new SystemFiles(_files.Root), 12, lookNow));
        Assert.False(ServerProcess.Notes(new SystemFiles(_files.Root), 13, lookNow));
    }

    [Fact]
    public void A_process_that_does_not_have_the_device_open_is_not_killed()
    {
        using Process innocent = Process.Start("sleep", "60");
        try
        {
            Assert.False(RemovalMachine.This.TryKillServer(0, innocent.Id));
            Assert.False(RemovalMachine.This.IsEnding(innocent.Id));
        }
        finally
        {
            innocent.Kill();
            innocent.WaitForExit();
        }

        Assert.True(RemovalMachine.This.IsEnding(innocent.Id));
    }

    [Theory]
    [InlineData("       3        4\n", 7)]
    [InlineData("0 0\n", 0)]
    [InlineData("", 0)]
    public void IOs_under_way_are_reads_and_writes(string text, long count)
    {
        _files.Write("/sys/block/ublkb3/inflight", text);
        Assert.Equal(count, new DeviceHolders(new SystemFiles(_files.Root), new OpenFiles(new SystemFiles(_files.Root), _ => null)).CountInFlight(3));
    }

    [Theory]
    [InlineData("     1  90 90 90    20 90 90 90  0 90 90   300 90 90 90   4000 90\n", 4321)]
    [InlineData("1 90 90 90 20 90 90 90 0 90 90\n", 21)] // a kernel that counts no more
    [InlineData("", 0)]
    public void IOs_that_have_ended_are_reads_writes_discards_and_flushes(string text, long count)
    {
        _files.Write("/sys/block/ublkb3/stat", text);
        Assert.Equal(count, new DeviceHolders(new SystemFiles(_files.Root), new OpenFiles(new SystemFiles(_files.Root), _ => null)).CountCompleted(3));
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
    public void A_process_with_another_root_has_folders_of_its_own()
    {
        Directory.CreateDirectory(_files.Root + "/shared/regions");
        Directory.CreateDirectory(_files.Root + "/container/shared/regions");
        _files.Link("/proc/12/root", _files.Root);
        _files.Link("/proc/13/root", _files.Root + "/container");
        Assert.True(_machine.FindsSame(12, "/shared/regions"));
        Assert.False(_machine.FindsSame(13, "/shared/regions"));
        Assert.False(_machine.FindsSame(12, "/nowhere"));
        Assert.False(_machine.FindsSame(14, "/shared/regions"));
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
        Assert.True(File.Exists(own) && File.Exists(users));

        // A successor adds to its predecessor's.
        _machine.DeleteServerLog(DeviceRecordTests.Example(0, 78, own));
        _machine.DeleteServerLog(DeviceRecordTests.Example(0, 78, own));
        Assert.False(File.Exists(own));
    }

    [Fact]
    public void A_log_that_another_server_still_writes_to_stays_until_that_one_has_ended()
    {
        Directory.CreateDirectory(Folder);
        string shared = Folder + "/server-77.log";
        File.WriteAllText(shared, "a");
        DeviceRecordTests.Example(0, 78, shared).Save(Folder);
        DeviceRecordTests.Example(11, 79, shared).Save(Folder);
        _files.Write("/run/muenblock/ublkbx.json", "{}");

        _machine.DeleteRecord(0);
        _machine.DeleteServerLog(DeviceRecordTests.Example(0, 78, shared));
        Assert.True(File.Exists(shared));
        _machine.DeleteRecord(11);
        _machine.DeleteServerLog(DeviceRecordTests.Example(11, 79, shared));
        Assert.False(File.Exists(shared));
    }
}
