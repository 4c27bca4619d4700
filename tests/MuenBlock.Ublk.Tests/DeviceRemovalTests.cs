using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Cli;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Tests;

public sealed class DeviceRemovalTests : IDisposable
{
    private const int Server = 100;

    private readonly FakeDriver _driver = new();
    private readonly FakeMachine _machine;
    private readonly ControlPlane _control;
    private readonly DeviceRemoval _removal;

    public DeviceRemovalTests()
    {
        _machine = new FakeMachine(_driver);
        _control = _driver.OpenPlane();
        _removal = new DeviceRemoval(_control, _machine);
        _driver.Put(0, pid: Server);
        _machine.Alive.Add(Server);
        _machine.Records[0] = DeviceRecordTests.Example(0, Server);
    }

    public void Dispose() => _control.Dispose();

    [Fact]
    public void A_device_is_stopped_then_closed_then_deleted_and_leaves_nothing()
    {
        _machine.At(200, () => _machine.Servers.Remove(0));
        _machine.At(300, () => _machine.Alive.Remove(Server));
        _machine.Servers.Add(0);
        _removal.Remove(0);
        uint[] changes = [.. _driver.Sent.Select(sent => sent.Operation).Where(operation => operation is UblkCommands.TryStopDevice or UblkCommands.DeleteDevice)];
        Assert.Equal([UblkCommands.TryStopDevice, UblkCommands.DeleteDevice], changes);
        Assert.Empty(_driver.Devices);
        Assert.Empty(_machine.Records);
        Assert.InRange(_machine.Milliseconds, 300, 400);
        Assert.Empty(_machine.DeletedLogs); // that is the server's own affair
    }

    [Fact]
    public void A_server_may_delete_the_device_itself()
    {
        _machine.Servers.Add(0);
        _machine.At(100, () =>
        {
            _machine.Servers.Remove(0);
            _driver.Devices.Remove(0);
            _machine.Alive.Remove(Server);
        });
        _removal.Remove(0);
        Assert.DoesNotContain(_driver.Sent, sent => sent.Operation == UblkCommands.DeleteDevice);
        Assert.Empty(_machine.Records);
    }

    // To stop it would wait for its I/O, and keep the driver from doing anything else with it.
    [Theory]
    [InlineData(false, "busy with 2 I/O(s) that do not end: its backend may not answer: end that use, then delete it again; nothing was stopped; it is served by a process that cannot be seen from here")]
    [InlineData(true, "/dev/ublkb0 cannot be stopped, and its server is a process that cannot be seen from here")]
    public void A_device_whose_IO_hangs_is_not_stopped_either_if_its_server_cannot_be_seen(bool force, string said)
    {
        _machine.SeesAllProcesses = false;
        _driver.Put(0, pid: -1);
        _machine.Stuck[0] = 2;
        ProgramException failure = Assert.Throws<ProgramException>(() => _removal.Remove(0, force));
        Assert.Equal(ExitCode.Busy, failure.ExitCode);
        Assert.Contains(said, failure.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(_driver.Sent, sent => sent.Operation is UblkCommands.TryStopDevice or UblkCommands.StopDevice);
        _machine.Stuck.Clear();
        _removal.Remove(0, force);
        Assert.Empty(_driver.Devices);
    }

    [Fact]
    public void A_device_that_takes_the_id_meanwhile_is_not_deleted_nor_is_its_record()
    {
        _machine.Servers.Add(0);
        _machine.At(100, () =>
        {
            _driver.Put(0, DeviceState.Live, pid: 555);
            _machine.Records[0] = DeviceRecordTests.Example(0, 555);
            _machine.Alive.Remove(Server);
        });
        _removal.Remove(0);
        Assert.Equal(555, _driver.Devices[0].ServerPid);
        Assert.Equal(555, _machine.Records[0].Pid);
        Assert.InRange(_machine.Milliseconds, 100, 200);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_device_that_is_being_added_is_left_to_whoever_adds_it(bool canTell)
    {
        if (!canTell) _driver.Features &= ~UblkFeatures.SafeStopDevice;
        using ControlPlane control = _driver.OpenPlane();
        _driver.Put(0, DeviceState.Dead, pid: Server);
        _machine.Servers.Add(0);
        ProgramException failure = Assert.Throws<ProgramException>(() => new DeviceRemoval(control, _machine).Remove(0));
        Assert.Equal(ExitCode.Busy, failure.ExitCode);
        Assert.Contains("/dev/ublkb0 is being added at this moment (process 100)", failure.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(_driver.Sent, sent => sent.Operation is UblkCommands.TryStopDevice or UblkCommands.StopDevice);
        Assert.Single(_machine.Records);
    }

    [Fact]
    public void A_device_whose_add_was_killed_at_this_moment_is_deleted()
    {
        _driver.Put(0, DeviceState.Dead, pid: Server);
        _driver.Answer = sent => sent.Operation == UblkCommands.TryStopDevice ? -19 : null;
        _machine.Alive.Clear();
        _machine.Servers.Add(0);
        _machine.At(100, () => _machine.Servers.Clear());
        _removal.Remove(0);
        Assert.Empty(_driver.Devices);
    }

    // There is no disk yet that could be stopped: the driver says so, and goes on as it was asked by whoever adds the device.
    [Fact]
    public void A_device_that_is_started_while_it_is_deleted_is_not_said_to_be_gone()
    {
        _driver.Put(0, DeviceState.Dead, pid: Server);
        _driver.Answer = sent =>
        {
            if (sent.Operation != UblkCommands.TryStopDevice) return null;
            _driver.Put(0, DeviceState.Live, pid: Server);
            _machine.Servers.Add(0);
            return -19;
        };
        ProgramException failure = Assert.Throws<ProgramException>(() => _removal.Remove(0));
        Assert.Equal(ExitCode.Busy, failure.ExitCode);
        Assert.Contains("/dev/ublkb0 was not deleted", failure.Message, StringComparison.Ordinal);
        Assert.Equal(DeviceState.Live, _driver.Devices[0].State);
        Assert.Single(_machine.Records);
    }

    [Fact]
    public void A_device_that_is_not_there_is_not_found()
    {
        ProgramException failure = Assert.Throws<ProgramException>(() => _removal.Remove(5));
        Assert.Equal(ExitCode.NotFound, failure.ExitCode);
        Assert.Contains("there is no /dev/ublkb5", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Another_programs_device_is_left_alone()
    {
        _driver.Put(4, ours: false, pid: 99);
        ProgramException failure = Assert.Throws<ProgramException>(() => _removal.Remove(4));
        Assert.Equal(ExitCode.NotFound, failure.ExitCode);
        Assert.Contains("another program's (process 99)", failure.Message, StringComparison.Ordinal);
        Assert.Equal(DeviceState.Live, _driver.Devices[4].State);
    }

    [Fact]
    public void A_mounted_device_is_refused_at_once_and_stays_as_it_is()
    {
        _driver.Open.Add(0);
        _machine.UserPhrases = ["mounted on /mnt", "open in fio (pid 12)"];
        ProgramException failure = Assert.Throws<ProgramException>(() => _removal.Remove(0));
        Assert.Equal(ExitCode.Busy, failure.ExitCode);
        Assert.Equal("/dev/ublkb0 is mounted on /mnt, open in fio (pid 12): end that use, then delete it again; nothing was stopped", failure.Message);
        Assert.Equal(DeviceState.Live, _driver.Devices[0].State);
        Assert.Single(_machine.Records);
        Assert.Equal(0, _machine.Milliseconds);
    }

    [Fact]
    public void A_device_that_is_open_for_a_moment_is_waited_for()
    {
        _driver.Open.Add(0);
        _machine.UserPhrases = ["open in udev-worker (pid 12)"];
        _machine.At(500, () => _driver.Open.Clear());
        _machine.At(500, () => _machine.Alive.Remove(Server));
        _removal.Remove(0);
        Assert.Empty(_driver.Devices);
    }

    [Fact]
    public void A_device_that_stays_open_is_refused()
    {
        _driver.Open.Add(0);
        _machine.UserPhrases = ["open in fio (pid 12)"];
        ProgramException failure = Assert.Throws<ProgramException>(() => _removal.Remove(0));
        Assert.Equal(ExitCode.Busy, failure.ExitCode);
        Assert.Contains("open in fio (pid 12)", failure.Message, StringComparison.Ordinal);
        Assert.InRange(_machine.Milliseconds, 2000, 2100);
    }

    [Fact]
    public void A_user_who_cannot_be_seen_is_one_nevertheless()
    {
        _driver.Open.Add(0);
        Assert.Contains("by whom cannot be seen", Assert.Throws<ProgramException>(() => _removal.Remove(0)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_server_that_does_not_let_go_is_named()
    {
        _machine.Servers.Add(0);
        ProgramException failure = Assert.Throws<ProgramException>(() => _removal.Remove(0));
        Assert.Equal(ExitCode.Busy, failure.ExitCode);
        Assert.Contains("its server (process 100) still has /dev/ublkc0 open after 30 s", failure.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(_driver.Sent, sent => sent.Operation == UblkCommands.DeleteDevice);
    }

    [Fact]
    public void A_server_with_another_device_is_not_waited_for()
    {
        _driver.Put(1, pid: Server);
        _removal.Remove(0);
        Assert.Equal(0, _machine.Milliseconds);
        Assert.Equal([1], _driver.Devices.Keys);
    }

    [Fact]
    public void A_device_without_a_server_goes_with_the_servers_log()
    {
        _driver.Put(0, DeviceState.Dead, pid: -1);
        _machine.Alive.Clear();
        _removal.Remove(0);
        Assert.Empty(_driver.Devices);
        Assert.Equal(0, _machine.Milliseconds);
        Assert.Equal([Server], _machine.DeletedLogs);
    }

    [Theory]
    [InlineData((ushort)DeviceState.Quiesced)]
    [InlineData((ushort)DeviceState.FailIo)]
    public void A_device_that_waits_for_another_server_has_none_whatever_number_it_bears(ushort state)
    {
        _driver.Put(0, (DeviceState)state, pid: Server);
        _machine.Records[0] = DeviceRecordTests.Example(0, pid: 99);
        _removal.Remove(0);
        Assert.Empty(_driver.Devices);
        Assert.Equal(0, _machine.Milliseconds);
        Assert.Equal([99], _machine.DeletedLogs);
    }

    [Fact]
    public void A_device_that_was_never_started_goes_too()
    {
        _driver.Put(0, DeviceState.Dead, pid: Server);
        _driver.Answer = sent => sent.Operation == UblkCommands.TryStopDevice ? 0 : null;
        _machine.Alive.Clear();
        _removal.Remove(0);
        Assert.Empty(_driver.Devices);
    }

    [Fact]
    public void A_failure_does_not_keep_other_devices_from_going()
    {
        _driver.Put(1, pid: Server);
        _driver.Put(2, pid: Server);
        _driver.Open.Add(0);
        _driver.Open.Add(1);
        _machine.UserPhrases = ["mounted on /mnt"];
        _machine.At(1, () => _machine.Alive.Clear());
        using var output = new StringWriter();
        using var errors = new StringWriter();
        ProgramException failure = Assert.Throws<ProgramException>(() => DeleteCommand.Delete([0, 1, 2], id => _removal.Remove(id), output, errors));
        Assert.StartsWith("/dev/ublkb1 is mounted", failure.Message, StringComparison.Ordinal);
        Assert.StartsWith("muenblock-ublk: /dev/ublkb0 is mounted", errors.ToString(), StringComparison.Ordinal);
        Assert.Equal("/dev/ublkb2\n", output.ToString());
        Assert.Equal([0, 1], _driver.Devices.Keys.Order());
    }

    // STOP_DEV would wait for it, and nothing else could be done with the device any more.
    [Fact]
    public void A_device_whose_IO_does_not_end_is_not_stopped()
    {
        _machine.Servers.Add(0);
        _machine.Stuck[0] = 3;
        ProgramException failure = Assert.Throws<ProgramException>(() => _removal.Remove(0));
        Assert.Equal(ExitCode.Busy, failure.ExitCode);
        Assert.Contains("busy with 3 I/O(s) that do not end: its backend may not answer", failure.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(_driver.Sent, sent => sent.Operation is UblkCommands.TryStopDevice or UblkCommands.StopDevice);
    }

    [Fact]
    public void A_waiting_device_that_is_in_use_is_refused_and_it_is_said_what_can_be_done()
    {
        _driver.Put(0, DeviceState.Quiesced, pid: Server);
        _driver.Open.Add(0);
        _machine.UserPhrases = ["mounted on /mnt"];
        Assert.Contains("'muenblock-ublk recover' gives it one, 'del --force' gives it up", Assert.Throws<ProgramException>(() => _removal.Remove(0)).Message, StringComparison.Ordinal);
        _removal.Remove(0, force: true);
        Assert.Empty(_driver.Devices);
    }

    [Fact]
    public void By_force_a_device_in_use_goes_in_order_if_its_server_ends_what_is_under_way()
    {
        _machine.Servers.Add(0);
        _driver.Open.Add(0);
        _machine.At(100, () => _machine.Servers.Clear());
        _machine.At(200, () => _machine.Alive.Clear());
        _removal.Remove(0, force: true);
        Assert.Empty(_driver.Devices);
        Assert.Empty(_machine.Killed);
    }

    [Fact]
    public void By_force_a_server_that_does_not_end_its_IO_is_killed_before_the_device_is_stopped()
    {
        _machine.Servers.Add(0);
        _machine.Stuck[0] = 3;
        _driver.Answer = sent =>
        {
            if (sent.Operation == UblkCommands.StopDevice) Assert.Equal([Server], _machine.Killed);
            return null;
        };
        _removal.Remove(0, force: true);
        Assert.Empty(_driver.Devices);
        Assert.Empty(_machine.Records);
        Assert.Contains(_driver.Sent, sent => sent.Operation == UblkCommands.StopDevice);
    }

    [Fact]
    public void By_force_a_server_is_killed_that_lets_a_stop_take_too_long()
    {
        using ControlPlane impatient = _driver.OpenPlane(TimeSpan.FromMilliseconds(20));
        _machine.Servers.Add(0);
        _driver.Answer = sent => sent.Operation == UblkCommands.StopDevice && _machine.Killed.Count == 0 ? FakeDriver.Cancelled : null;
        new DeviceRemoval(impatient, _machine).Remove(0, force: true);
        Assert.Equal([Server], _machine.Killed);
        Assert.Empty(_driver.Devices);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void By_force_a_server_is_killed_that_keeps_a_device_open_which_is_stopped(bool before)
    {
        if (before) _driver.Put(0, DeviceState.Dead, pid: -1);
        _driver.Put(1, pid: Server);
        _machine.Servers.Add(0);
        _removal.Remove(0, force: true);
        Assert.Equal([Server], _machine.Killed);
        Assert.Equal([1], _driver.Devices.Keys);
        Assert.InRange(_machine.Milliseconds, 10_000, 11_000);
    }

    [Fact]
    public void A_process_that_is_not_the_devices_server_is_not_killed()
    {
        _machine.Stuck[0] = 3;
        ProgramException failure = Assert.Throws<ProgramException>(() => _removal.Remove(0, force: true));
        Assert.Contains("not ours to kill", failure.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(_driver.Sent, sent => sent.Operation == UblkCommands.StopDevice);
    }

    [Fact]
    public void A_server_that_cannot_even_be_killed_is_named_and_the_device_is_as_it_was()
    {
        _machine.Servers.Add(0);
        _machine.Stuck[0] = 3;
        _machine.Mortal = false;
        ProgramException failure = Assert.Throws<ProgramException>(() => _removal.Remove(0, force: true));
        Assert.Equal(ExitCode.Kernel, failure.ExitCode);
        Assert.Contains("/dev/ublkb0 is as it was: its server (process 100) was killed, but has not ended after 30 s", failure.Message, StringComparison.Ordinal);
        Assert.Equal(DeviceState.Live, _driver.Devices[0].State);
    }
}
