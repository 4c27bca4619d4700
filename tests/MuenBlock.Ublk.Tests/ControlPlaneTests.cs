using System.Runtime.InteropServices;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Control;
using static Tmds.Linux.LibC;

namespace MuenBlock.Ublk.Tests;

public sealed class ControlPlaneTests
{
    private static readonly TimeSpan s_short = TimeSpan.FromMilliseconds(50);

    private readonly FakeDriver _driver = new();

    [Fact]
    public void Opening_asks_what_the_driver_can_do()
    {
        _driver.Features = UblkFeatures.BatchIo | (UblkFeatures)(1ul << 63);
        using ControlPlane control = _driver.OpenPlane();
        Assert.Equal(UblkFeatures.BatchIo | (UblkFeatures)(1ul << 63), control.Features);
    }

    [Theory]
    [InlineData(19)] // ENODEV: 6.3 and 6.4 look for a device first
    [InlineData(22)] // EINVAL: older ones
    [InlineData(95)]
    [InlineData(524)]
    public void A_driver_without_GET_FEATURES_is_too_old(int errno)
    {
        _driver.Answer = _ => -errno;
        ProgramException failure = Assert.Throws<ProgramException>(() => _driver.OpenPlane());
        Assert.Equal(ExitCode.Environment, failure.ExitCode);
        Assert.Contains("too old", failure.Message, StringComparison.Ordinal);
        Assert.Contains("use Linux 6.8 or newer", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Adding_gives_back_what_the_driver_made_of_it()
    {
        _driver.Features = UblkFeatures.UserRecovery;
        using ControlPlane control = _driver.OpenPlane();
        DeviceInfo info = control.Add(new DeviceInfo { DeviceId = DeviceInfo.AnyId, QueueDepth = 7, Flags = UblkFeatures.UserRecovery | UblkFeatures.BatchIo });
        Assert.Equal(0u, info.DeviceId);
        Assert.Equal(7, info.QueueDepth);
        Assert.Equal(UblkFeatures.UserRecovery | UblkFeatures.EncodedCommands, info.Flags);
        Assert.Equal(DeviceInfo.AnyId, _driver.Sent[^1].Command.DeviceId);
        Assert.Equal(ControlCommand.NoQueue, _driver.Sent[^1].Command.QueueId);
    }

    [Fact]
    public void The_CPUs_of_a_queue_are_asked_for_with_room_for_the_largest_kernels_set()
    {
        _driver.Put(3);
        using ControlPlane control = _driver.OpenPlane();
        Assert.Equal([1, 3], control.GetQueueAffinity(3, 0));
        Assert.Equal((1024, 0ul), (_driver.Sent[^1].Data.Length, _driver.Sent[^1].Command.Argument));
        Assert.Equal(ExitCode.NotFound, Assert.Throws<ProgramException>(() => control.GetQueueAffinity(4, 0)).ExitCode);
    }

    [Fact]
    public void An_id_that_is_taken_is_busy()
    {
        _driver.Put(3);
        using ControlPlane control = _driver.OpenPlane();
        ProgramException failure = Assert.Throws<ProgramException>(() => control.Add(new DeviceInfo { DeviceId = 3 }));
        Assert.Equal(ExitCode.Busy, failure.ExitCode);
        Assert.Contains("choose another --id", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Parameters_are_sent_with_their_length()
    {
        _driver.Put(2);
        using ControlPlane control = _driver.OpenPlane();
        control.SetParameters(2, new DeviceParameters { Types = ParameterTypes.Basic });
        Assert.Equal(152, _driver.Sent[^1].Command.Length);
        Assert.Equal(152u, MemoryMarshal.Read<DeviceParameters>(_driver.Sent[^1].Data).Length);
        _ = control.GetParameters(2);
        Assert.Equal(152u, MemoryMarshal.Read<DeviceParameters>(_driver.Sent[^1].Data).Length);
    }

    [Fact]
    public void Starting_names_the_server()
    {
        _driver.Put(2, DeviceState.Dead);
        using ControlPlane control = _driver.OpenPlane();
        control.Start(2, 4711);
        Assert.Equal(UblkCommands.StartDevice, _driver.Sent[^1].Operation);
        Assert.Equal(4711ul, _driver.Sent[^1].Command.Argument);
        Assert.Equal(0ul, _driver.Sent[^1].Command.Address);
    }

    [Fact]
    public void A_device_that_is_not_there_has_no_information_and_need_not_be_stopped_or_deleted()
    {
        using ControlPlane control = _driver.OpenPlane();
        Assert.Null(control.TryGetInfo(5));
        control.Stop(5);
        Assert.True(control.TryStop(5));
        control.Delete(5);
        Assert.Equal(ExitCode.NotFound, Assert.Throws<ProgramException>(() => control.Start(5, 1)).ExitCode);
        Assert.Equal(ExitCode.NotFound, Assert.Throws<ProgramException>(() => control.GetParameters(5)).ExitCode);
    }

    [Fact]
    public void An_unprivileged_device_is_looked_at_with_its_path()
    {
        // The driver refuses both commands without a path (ublk_ctrl_uring_cmd_permission).
        _driver.Put(12);
        _driver.Parameters[12] = new DeviceParameters { Length = 152, Types = ParameterTypes.Basic };
        _driver.Answer = sent => sent.Command.PathLength == 0 && sent.Operation != UblkCommands.GetFeatures ? -EINVAL : null;
        using ControlPlane control = _driver.OpenPlane();
        Assert.Equal(12u, control.TryGetInfo(12)!.Value.DeviceId);
        Assert.Equal(UblkCommands.GetDeviceInfo2, _driver.Sent[^1].Operation);
        Assert.Equal("/dev/ublkc12"u8, _driver.Sent[^1].Data.AsSpan(0, _driver.Sent[^1].Command.PathLength));
        Assert.Equal("/dev/ublkc12".Length + 64, _driver.Sent[^1].Command.Length);
        Assert.Equal(ParameterTypes.Basic, control.GetParameters(12).Types);
        Assert.Equal(UblkCommands.GetParameters, _driver.Sent[^1].Operation);
    }

    [Fact]
    public void The_driver_tells_whether_a_device_is_in_use()
    {
        _driver.Put(1);
        _driver.Open.Add(1);
        using ControlPlane control = _driver.OpenPlane();
        Assert.False(control.TryStop(1));
        Assert.Equal(DeviceState.Live, _driver.Devices[1].State);
        _driver.Open.Clear();
        Assert.True(control.TryStop(1));
        Assert.Equal(DeviceState.Dead, _driver.Devices[1].State);
        Assert.DoesNotContain(_driver.Sent, sent => sent.Operation == UblkCommands.StopDevice);
    }

    [Fact]
    public void A_driver_that_cannot_tell_is_told_to_stop_only_what_nobody_is_seen_to_use()
    {
        _driver.Features &= ~UblkFeatures.SafeStopDevice;
        _driver.Put(1);
        _driver.Open.Add(1);
        using ControlPlane control = _driver.OpenPlane();
        Assert.False(control.TryStop(1));
        Assert.Equal(DeviceState.Live, _driver.Devices[1].State);
        _driver.Open.Clear();
        Assert.True(control.TryStop(1));
        Assert.Equal(DeviceState.Dead, _driver.Devices[1].State);
        Assert.DoesNotContain(_driver.Sent, sent => sent.Operation == UblkCommands.TryStopDevice);
    }

    [Fact]
    public void A_device_that_somebody_has_begun_to_use_is_not_ended_by_its_server()
    {
        _driver.Put(1);
        _driver.Open.Add(1);
        using ControlPlane control = _driver.OpenPlane();
        Assert.False(control.TryStopUnused(1, s_short));
        Assert.Equal(DeviceState.Live, _driver.Devices[1].State);
        Assert.DoesNotContain(_driver.Sent, sent => sent.Operation == UblkCommands.StopDevice);
    }

    [Fact]
    public void Who_looks_at_a_device_in_passing_does_not_keep_it_from_being_ended()
    {
        _driver.Put(1);
        int busy = 3;
        _driver.Answer = sent => sent.Operation == UblkCommands.TryStopDevice && busy-- > 0 ? -EBUSY : null;
        using ControlPlane control = _driver.OpenPlane();
        Assert.True(control.TryStopUnused(1, TimeSpan.FromMinutes(1)));
        Assert.Equal(DeviceState.Dead, _driver.Devices[1].State);
    }

    [Fact]
    public void A_server_whose_driver_cannot_tell_looks_itself_and_ends_only_what_nobody_uses()
    {
        _driver.Features &= ~UblkFeatures.SafeStopDevice;
        _driver.Put(1);
        _driver.Open.Add(1);
        using ControlPlane control = _driver.OpenPlane();
        Assert.False(control.TryStopUnused(1, TimeSpan.Zero));
        Assert.Equal(DeviceState.Live, _driver.Devices[1].State);
        _driver.Open.Clear();
        Assert.True(control.TryStopUnused(1, TimeSpan.Zero));
        Assert.Equal([UblkCommands.GetFeatures, UblkCommands.StopDevice], _driver.Sent.Select(sent => sent.Operation));
    }

    // Linux 6.8 to 6.14: a second START_USER_RECOVERY is refused for as long as not all tags were fetched since the first.
    [Theory]
    [InlineData(ControlPlane.Recoverable, ExitCode.Kernel, "/dev/ublkb2 cannot be taken over any more: an earlier take-over of it was cut off")]
    [InlineData((UblkFeatures)0, ExitCode.Environment, "cannot take over /dev/ublkb2: it does not outlive its server")]
    internal void What_keeps_a_device_from_being_taken_over_is_told_apart(UblkFeatures flags, ExitCode code, string said)
    {
        _driver.Put(2, DeviceState.Quiesced, flags: flags);
        _driver.Answer = sent => sent.Operation == UblkCommands.StartUserRecovery ? -EINVAL : null;
        using ControlPlane control = _driver.OpenPlane();
        ProgramException failure = Assert.Throws<ProgramException>(() => control.StartRecovery(2));
        Assert.Equal(code, failure.ExitCode);
        Assert.StartsWith(said, failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_start_is_sent_again_when_its_wait_was_interrupted()
    {
        _driver.Put(1, DeviceState.Dead);
        int interruptions = 3;
        _driver.Answer = sent => sent.Operation == UblkCommands.StartDevice && interruptions-- > 0 ? -EINTR : null;
        using ControlPlane control = _driver.OpenPlane();
        control.Start(1, 9);
        Assert.Equal(DeviceState.Live, _driver.Devices[1].State);
    }

    // A second command could reach a device that has got the id meanwhile: the driver would stop and delete it, whoever uses it.
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_deletion_whose_wait_was_interrupted_is_waited_for_and_not_sent_again(bool isTakenAgain)
    {
        _driver.Put(1, DeviceState.Dead, pid: -1);
        int looks = 3;
        bool deleting = false;
        _driver.Answer = sent =>
        {
            if (sent.Operation == UblkCommands.DeleteDevice)
            {
                deleting = true;
                return -EINTR;
            }

            // Its last user closes it.
            if (!deleting || looks-- > 0) return null;
            _driver.Devices.Remove(1);
            if (isTakenAgain) _driver.Put(1, DeviceState.Live, device: 7);
            return null;
        };
        using ControlPlane control = _driver.OpenPlane();
        control.Delete(1);
        Assert.Single(_driver.Sent, sent => sent.Operation == UblkCommands.DeleteDevice);
        Assert.Equal(isTakenAgain, _driver.Devices.ContainsKey(1));
        Assert.True(looks < 0);
    }

    [Fact]
    public void A_deletion_whose_wait_was_interrupted_has_its_deadline()
    {
        _driver.Put(1, DeviceState.Dead, pid: -1);
        _driver.Answer = sent => sent.Operation == UblkCommands.DeleteDevice ? -EINTR : null;
        using ControlPlane control = _driver.OpenPlane(s_short);
        ProgramException failure = Assert.Throws<ProgramException>(() => control.Delete(1));
        Assert.Equal(ExitCode.Kernel, failure.ExitCode);
        Assert.Contains("DEL_DEV", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Interruptions_do_not_go_on_beyond_the_deadline()
    {
        _driver.Put(1);
        _driver.Answer = sent =>
        {
            if (sent.Operation != UblkCommands.StartDevice) return null;
            Thread.Sleep(5);
            return -EINTR;
        };
        using ControlPlane control = _driver.OpenPlane(s_short);
        Assert.Equal(ExitCode.Kernel, Assert.Throws<ProgramException>(() => control.Start(1, 9)).ExitCode);
    }

    [Fact]
    public void Adding_is_never_repeated()
    {
        _driver.Answer = sent => sent.Operation == UblkCommands.AddDevice ? -EINTR : null;
        using ControlPlane control = _driver.OpenPlane();
        Assert.Throws<ProgramException>(() => control.Add(default));
        Assert.Single(_driver.Sent, sent => sent.Operation == UblkCommands.AddDevice);
    }

    [Fact]
    public void A_command_that_takes_too_long_is_cancelled_and_named()
    {
        _driver.Put(7);
        _driver.Answer = sent => sent.Operation == UblkCommands.StartDevice ? FakeDriver.Cancelled : null;
        using ControlPlane control = _driver.OpenPlane(s_short);
        ProgramException failure = Assert.Throws<ProgramException>(() => control.Start(7, 1));
        Assert.Equal(ExitCode.Kernel, failure.ExitCode);
        Assert.Contains("START_DEV of /dev/ublkb7 within 0.1 s", failure.Message, StringComparison.Ordinal);
        Assert.Contains("6.18.4", failure.Message, StringComparison.Ordinal);
        Assert.NotNull(control.TryGetInfo(7));
        Assert.Equal(1, _driver.Rings);
    }

    [Fact]
    public void A_command_that_cannot_be_cancelled_keeps_its_thread_and_nothing_else()
    {
        var log = new ListLog();
        _driver.Put(7);
        using var release = new ManualResetEventSlim();
        _driver.Answer = sent =>
        {
            if (sent.Operation != UblkCommands.StopDevice) return null;
            release.Wait();
            return 0;
        };
        using ControlPlane control = _driver.OpenPlane(s_short, log);
        ProgramException failure = Assert.Throws<ProgramException>(() => control.Stop(7));
        Assert.Equal(ExitCode.Kernel, failure.ExitCode);
        Assert.Contains("STOP_DEV", failure.Message, StringComparison.Ordinal);

        // The next command has a thread and a ring of its own.
        Assert.NotNull(control.TryGetInfo(7));
        Assert.Equal(2, _driver.Rings);

        // When the stuck command ends after all, it is noted, and its thread ends.
        release.Set();
        Assert.True(SpinWait.SpinUntil(() => _driver.DisposedRings == 1, TimeSpan.FromSeconds(30)));
        Assert.Contains(log.Lines, line => line.StartsWith("Warning: STOP_DEV of device 7", StringComparison.Ordinal));
    }

    [Fact]
    public void A_command_that_waits_does_not_hold_up_others()
    {
        _driver.Put(1, DeviceState.Dead);
        using var release = new ManualResetEventSlim();
        using var waiting = new ManualResetEventSlim();
        _driver.Answer = sent =>
        {
            if (sent.Operation != UblkCommands.StartDevice) return null;
            waiting.Set();
            release.Wait();
            return null;
        };
        using ControlPlane control = _driver.OpenPlane();
        var starter = new Thread(() => control.Start(1, 8));
        starter.Start();
        waiting.Wait(TestContext.Current.CancellationToken);
        Assert.Equal(DeviceState.Dead, control.TryGetInfo(1)!.Value.State);
        release.Set();
        starter.Join();
        Assert.Equal(DeviceState.Live, control.TryGetInfo(1)!.Value.State);
        Assert.Equal(2, _driver.Rings);
    }

    [Fact]
    public void Threads_are_used_again_and_end_with_the_plane()
    {
        ControlPlane control = _driver.OpenPlane();
        for (int i = 0; i < 10; i++) _ = control.TryGetInfo(i);
        Assert.Equal(1, _driver.Rings);
        control.Dispose();
        Assert.True(SpinWait.SpinUntil(() => _driver.DisposedRings == 1, TimeSpan.FromSeconds(30)));
        Assert.Throws<ObjectDisposedException>(() => control.TryGetInfo(0));
    }

    [Fact]
    public void Without_a_ring_the_failure_is_the_callers()
    {
        ProgramException failure = Assert.Throws<ProgramException>(() => new ControlPlane(
            () => throw new InvalidOperationException("no ring to be had"), _ => false, SystemFiles.Machine, new ListLog()));
        Assert.Equal(ExitCode.Environment, failure.ExitCode);
        Assert.Equal("no ring to be had", failure.Message);
    }
}
