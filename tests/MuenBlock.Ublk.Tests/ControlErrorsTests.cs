using CsCheck;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Tests;

/// <summary>Every failure says what is wrong and what to do, in one line.</summary>
public sealed class ControlErrorsTests : IDisposable
{
    private static readonly uint[] s_commands =
    [
        UblkCommands.GetQueueAffinity, UblkCommands.GetDeviceInfo, UblkCommands.AddDevice, UblkCommands.DeleteDevice, UblkCommands.StartDevice,
        UblkCommands.StopDevice, UblkCommands.SetParameters, UblkCommands.GetParameters, UblkCommands.StartUserRecovery, UblkCommands.EndUserRecovery,
        UblkCommands.GetDeviceInfo2, UblkCommands.GetFeatures, UblkCommands.DeleteDeviceAsync, UblkCommands.UpdateSize, UblkCommands.QuiesceDevice,
        UblkCommands.TryStopDevice, UblkCommands.RegisterBuffer,
    ];

    private readonly FakeSystem _files = new();

    private SystemFiles System => new(_files.Root);

    public void Dispose() => _files.Dispose();

    [Theory]
    [InlineData(UblkCommands.AddDevice, 1, ExitCode.Environment, "cannot add /dev/ublkb3: not permitted: run as root")]
    [InlineData(UblkCommands.AddDevice, 17, ExitCode.Busy, "that id is taken: choose another --id")]
    [InlineData(UblkCommands.AddDevice, 13, ExitCode.Environment, "the driver allows no more devices than 64: delete some, or write a larger number to /sys/module/ublk_drv/parameters/ublks_max")]
    [InlineData(UblkCommands.AddDevice, 28, ExitCode.Environment, "there is no free id: delete devices")]
    [InlineData(UblkCommands.AddDevice, 12, ExitCode.Environment, "short of memory: use a smaller --depth")]
    [InlineData(UblkCommands.AddDevice, 22, ExitCode.Environment, "'muenblock-ublk features' shows what it has")]
    [InlineData(UblkCommands.SetParameters, 13, ExitCode.Busy, "cannot set the parameters of /dev/ublkb3: it was started already")]
    [InlineData(UblkCommands.SetParameters, 22, ExitCode.Environment, "refuses the device's block size, size or limits")]
    [InlineData(UblkCommands.StartDevice, 22, ExitCode.Busy, "something else uses /dev/ublkc3")]
    [InlineData(UblkCommands.StartDevice, 17, ExitCode.Busy, "cannot start /dev/ublkb3: it was started already")]
    [InlineData(UblkCommands.StartDevice, 16, ExitCode.Busy, "its last server has not let go of it: wait")]
    [InlineData(UblkCommands.StartDevice, 19, ExitCode.NotFound, "there is no such device: 'muenblock-ublk list'")]
    [InlineData(UblkCommands.StartDevice, 4, ExitCode.Kernel, "interrupted again and again: try again")]
    [InlineData(UblkCommands.StopDevice, 1, ExitCode.Environment, "cannot stop /dev/ublkb3: not permitted")]
    [InlineData(UblkCommands.TryStopDevice, 16, ExitCode.Busy, "it is in use: end that use")]
    [InlineData(UblkCommands.DeleteDevice, 4, ExitCode.Kernel, "cannot delete /dev/ublkb3: the command was interrupted")]
    [InlineData(UblkCommands.GetDeviceInfo, 1, ExitCode.Environment, "cannot look at /dev/ublkb3: not permitted")]
    [InlineData(UblkCommands.GetDeviceInfo, 13, ExitCode.Environment, "cannot look at /dev/ublkb3: not permitted")]
    [InlineData(UblkCommands.StartUserRecovery, 16, ExitCode.Busy, "its server has not let go of it")]
    [InlineData(UblkCommands.StartUserRecovery, 22, ExitCode.Environment, "it does not outlive its server")]
    [InlineData(UblkCommands.EndUserRecovery, 16, ExitCode.Busy, "it waits for no server")]
    [InlineData(UblkCommands.EndUserRecovery, 22, ExitCode.Busy, "something else uses /dev/ublkc3")]
    [InlineData(UblkCommands.QuiesceDevice, 16, ExitCode.Busy, "all of its tags are in use")]
    [InlineData(UblkCommands.QuiesceDevice, 95, ExitCode.Environment, "this kernel cannot do that")]
    [InlineData(UblkCommands.UpdateSize, 524, ExitCode.Environment, "this kernel cannot do that")]
    [InlineData(UblkCommands.RegisterBuffer, 14, ExitCode.Resource, "use regions on a tmpfs")]
    [InlineData(UblkCommands.RegisterBuffer, 22, ExitCode.Resource, "larger than 4 GiB")]
    [InlineData(UblkCommands.StartDevice, 5, ExitCode.Kernel, "START_DEV failed with error 5 (Input/output error): the kernel's log (dmesg) may say why")]
    public void A_failure_has_a_cause_and_a_remedy(uint command, int errno, ExitCode code, string phrase)
    {
        _files.Write("/sys/module/ublk_drv/parameters/ublks_max", "64\n");
        ProgramException failure = ControlErrors.Describe(command, 3, errno, System);
        Assert.Contains(phrase, failure.Message, StringComparison.Ordinal);
        Assert.Equal(code, failure.ExitCode);
    }

    [Fact]
    public void Any_failure_of_any_command_is_one_complete_line() =>
        Gen.Select(Gen.OneOf(s_commands), Gen.Int[1, 600], Gen.Int[-1, 100]).Sample((command, errno, id) =>
        {
            ProgramException failure = ControlErrors.Describe(command, id, errno, System);
            Assert.NotEqual(ExitCode.Success, failure.ExitCode);
            Assert.NotEqual(ExitCode.Internal, failure.ExitCode);
            Assert.DoesNotContain('\n', failure.Message);
            Assert.DoesNotContain('{', failure.Message);
            Assert.DoesNotContain("cannot command", failure.Message, StringComparison.Ordinal);
            if (command != UblkCommands.GetFeatures) Assert.Contains(id < 0 ? "a block device" : $"/dev/ublkb{id}", failure.Message, StringComparison.Ordinal);
        });

    [Fact]
    public void Any_command_that_takes_too_long_is_named() =>
        Gen.Select(Gen.OneOf(s_commands), Gen.Int[0, 100]).Sample((command, id) =>
        {
            ProgramException failure = ControlErrors.TimedOut(command, id, TimeSpan.FromSeconds(10), System);
            Assert.Equal(ExitCode.Kernel, failure.ExitCode);
            Assert.Contains($"did not complete {UblkCommands.Name(command)} of /dev/ublkb{id} within 10 s", failure.Message, StringComparison.Ordinal);
            Assert.DoesNotContain("0x", failure.Message, StringComparison.Ordinal);
        });

    [Theory]
    [InlineData("6.18.4", true)]
    [InlineData("6.18.4+deb14-amd64", true)]
    [InlineData("6.18.40", true)]
    [InlineData("6.18.41", false)]
    [InlineData("7.0.1", false)]
    [InlineData("6.17.0-1015-azure", true)]
    [InlineData("6.17.0-1016-azure", false)]
    [InlineData("7.3.4+deb13-cloud-amd64", false)]
    public void A_kernel_that_is_known_to_hang_is_named_as_such(string release, bool known)
    {
        _files.Write("/proc/sys/kernel/osrelease", release + "\n");
        string message = ControlErrors.TimedOut(UblkCommands.AddDevice, -1, TimeSpan.FromSeconds(10), System).Message;
        Assert.Equal(known, message.Contains($"this kernel, {release}, is known", StringComparison.Ordinal));
        Assert.Contains(release, message, StringComparison.Ordinal);
    }

    [Fact]
    public void Without_a_module_the_driver_cannot_be_loaded()
    {
        _files.Write("/proc/sys/kernel/osrelease", "7.3.4\n");
        ProgramException failure = ControlErrors.CannotOpen(ControlPlane.Path, 2, System);
        Assert.Equal(ExitCode.Environment, failure.ExitCode);
        Assert.Contains("there is no /dev/ublk-control: the driver is not loaded, and Linux 7.3.4 has no module for it here", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_module_that_is_there_has_to_be_loaded()
    {
        _files.Write("/proc/sys/kernel/osrelease", "7.3.4\n");
        _files.Write("/lib/modules/7.3.4/modules.dep", "kernel/fs/xfs.ko:\nkernel/drivers/block/ublk_drv.ko.xz:\n");
        ProgramException failure = ControlErrors.CannotOpen(ControlPlane.Path, 2, System);
        Assert.EndsWith("the driver is not loaded: 'modprobe ublk_drv'", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_container_that_lacks_the_node_is_told_so()
    {
        _files.Write("/sys/class/misc/ublk-control/dev", "10:260\n");
        Assert.Contains("pass the device in (--device /dev/ublk-control)", ControlErrors.CannotOpen(ControlPlane.Path, 2, System).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(13)]
    public void Without_permission_root_is_asked_for(int errno)
    {
        ProgramException failure = ControlErrors.CannotOpen(ControlPlane.Path, errno, System);
        Assert.Equal(ExitCode.Environment, failure.ExitCode);
        Assert.Contains("run as root", failure.Message, StringComparison.Ordinal);
    }
}
