using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using static Tmds.Linux.LibC;

namespace MuenBlock.Ublk.Control;

/// <summary>Says what a control command's error means and what to do about it.</summary>
internal static class ControlErrors
{
    /// <summary>A command failed.</summary>
    /// <param name="command">The command.</param>
    /// <param name="id">The device; -1 if the driver was to choose one.</param>
    /// <param name="errno">The positive error number.</param>
    public static ProgramException Describe(uint command, int id, int errno)
    {
        if (errno == EPERM) return new ProgramException(ExitCode.Environment, $"{UblkCommands.Name(command)} is not permitted: run as root");
        return command switch
        {
            UblkCommands.GetFeatures => new ProgramException(ExitCode.Environment, $"this kernel's ublk driver is too old ({PosixFile.Describe(errno)}): Linux 6.8 or newer is needed"),
            UblkCommands.AddDevice when errno == EEXIST => new ProgramException(ExitCode.Busy, $"block device id {id} is taken: choose another --id, or none ('muenblock-ublk list' shows those in use)"),
            UblkCommands.AddDevice when errno == EACCES => new ProgramException(ExitCode.Environment, "the driver allows no more devices: raise the limit (/sys/module/ublk_drv/parameters/ublks_max)"),
            UblkCommands.StartDevice when errno == ENOMEM => new ProgramException(ExitCode.Environment, "the kernel is short of memory: use a smaller --depth"),
            _ when errno == ENODEV => new ProgramException(ExitCode.NotFound, $"there is no block device {id}"),
            _ => new ProgramException(ExitCode.Kernel, $"{UblkCommands.Name(command)} of block device {id} failed: {PosixFile.Describe(errno)}; the kernel's log may say why"),
        };
    }

    /// <summary>A command was not completed in time.</summary>
    /// <param name="command">The command.</param>
    /// <param name="id">The device.</param>
    /// <param name="deadline">How long it was given.</param>
    public static ProgramException TimedOut(uint command, int id, TimeSpan deadline) => new(
        ExitCode.Kernel,
        $"the kernel did not complete {UblkCommands.Name(command)} of block device {id} within {deadline.TotalSeconds:0} s: see the kernel's log; kernels 6.18.4, 6.18.5, 6.18.40, 7.0.0 and 7.0.14 are known to hang here");
}
