using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using static Tmds.Linux.LibC;

namespace MuenBlock.Ublk.Control;

/// <summary>Says what went wrong with the control device or with a command, and what to do about it.</summary>
internal static class ControlErrors
{
    // ENOTSUPP, linux/errno.h: not meant for user space, but some drivers return it. No libc has a name for it.
    private const int NotSupportedInside = 524;

    private static readonly Rule[] s_rules =
    [
        // The control device belongs to root; every command on a device wants CAP_SYS_ADMIN on top.
        new(null, EPERM, ExitCode.Environment, "not permitted", "run as root; a container needs CAP_SYS_ADMIN as well"),

        // A device with that number was not there before ADD_DEV, or is no longer.
        new(UblkCommands.AddDevice, EEXIST, ExitCode.Busy, "that id is taken", "choose another --id, or none ('muenblock-ublk list' shows those in use)"),
        new(UblkCommands.AddDevice, EACCES, ExitCode.Environment, "the driver allows no more devices{limit}", "delete some, or write a larger number to /sys/module/ublk_drv/parameters/ublks_max"),
        new(UblkCommands.AddDevice, ENOSPC, ExitCode.Environment, "there is no free id", "delete devices that are not needed ('muenblock-ublk list' shows them)"),
        new(UblkCommands.AddDevice, ENOMEM, ExitCode.Environment, "the kernel is short of memory", "use a smaller --depth, or free memory"),
        new(UblkCommands.AddDevice, EINVAL, ExitCode.Environment, "the driver refuses what the device shall be like", "this kernel may lack something, 'muenblock-ublk features' shows what it has; its log (dmesg) may say more"),

        new(UblkCommands.SetParameters, EACCES, ExitCode.Busy, "it was started already", "another program uses the same id: choose another --id, or none"),
        new(UblkCommands.SetParameters, EINVAL, ExitCode.Environment, "the driver refuses the device's block size, size or limits", "see the kernel's log (dmesg), and what the backend exports"),

        // START_DEV compares the process that opened the character device with the one that is named.
        new(UblkCommands.StartDevice, EINVAL, ExitCode.Busy, "another process has opened its character device", "something else uses /dev/ublkc{id}, or this process runs in another PID namespace: end that use, or run in the host's namespace"),
        new(UblkCommands.StartDevice, EEXIST, ExitCode.Busy, "it was started already", "another program uses the same id: choose another --id, or none"),
        new(UblkCommands.StartDevice, EBUSY, ExitCode.Busy, "its last server has not let go of it", "wait until that process has ended, then try again"),
        new(UblkCommands.StartDevice, ENOMEM, ExitCode.Environment, "the kernel is short of memory", "use a smaller --depth, or free memory"),
        new(UblkCommands.StartDevice, EINTR, ExitCode.Kernel, "the command was interrupted again and again", "try again"),

        new(UblkCommands.DeleteDevice, EINTR, ExitCode.Kernel, "the command was interrupted again and again", "try again"),
        new(UblkCommands.TryStopDevice, EBUSY, ExitCode.Busy, "it is in use", "end that use, then try again"),

        new(UblkCommands.StartUserRecovery, EBUSY, ExitCode.Busy, "its server has not let go of it", "wait until that process has ended, or end it, then try again"),
        new(UblkCommands.StartUserRecovery, EINVAL, ExitCode.Environment, "it does not outlive its server", "it was added where the driver has no recovery: delete it and add it anew"),
        new(UblkCommands.EndUserRecovery, EBUSY, ExitCode.Busy, "it waits for no server", "see 'muenblock-ublk list' for its state"),
        new(UblkCommands.EndUserRecovery, EINVAL, ExitCode.Busy, "another process has opened its character device", "something else uses /dev/ublkc{id}: end that use"),
        new(UblkCommands.EndUserRecovery, EINTR, ExitCode.Kernel, "the command was interrupted again and again", "try again"),
        new(UblkCommands.QuiesceDevice, EBUSY, ExitCode.Busy, "all of its tags are in use", "try again when there is less I/O"),
        new(UblkCommands.QuiesceDevice, EINVAL, ExitCode.Environment, "it was added without recovery", "delete it and add it anew"),
        new(UblkCommands.UpdateSize, EINVAL, ExitCode.Environment, "the driver refuses that size", "see the kernel's log (dmesg)"),

        new(UblkCommands.RegisterBuffer, ENOMEM, ExitCode.Environment, "the kernel cannot pin the buffer", "free memory, or use a smaller buffer"),
        new(UblkCommands.RegisterBuffer, EFAULT, ExitCode.Resource, "the buffer is not ordinary memory, which could be pinned", "use regions on a tmpfs (--region-dir)"),
        new(UblkCommands.RegisterBuffer, EINVAL, ExitCode.Resource, "the buffer is no whole number of pages, or larger than 4 GiB", "use a buffer of another size"),

        // A user's own device belongs to that user; whoever may not open its character device may not command it.
        new(null, EACCES, ExitCode.Environment, "not permitted", "run as root; a container needs CAP_SYS_ADMIN as well"),
        new(null, ENODEV, ExitCode.NotFound, "there is no such device", "'muenblock-ublk list' shows those there are"),
        new(null, ENOMEM, ExitCode.Environment, "the kernel is short of memory", "free some"),
        new(null, EOPNOTSUPP, ExitCode.Environment, "this kernel cannot do that", "'muenblock-ublk features' shows what it can; use a newer one"),
        new(null, NotSupportedInside, ExitCode.Environment, "this kernel cannot do that", "'muenblock-ublk features' shows what it can; use a newer one"),
    ];

    /// <summary>A command failed.</summary>
    /// <param name="command">The command.</param>
    /// <param name="id">The device; -1 if the driver was to choose one.</param>
    /// <param name="errno">The positive error number.</param>
    /// <param name="system">The machine's files.</param>
    public static ProgramException Describe(uint command, int id, int errno, SystemFiles system)
    {
        if (command == UblkCommands.GetFeatures)
        {
            // The driver tells its features to everyone; one that cannot is older than 6.5 and looks for a device, or knows no such command.
            return new ProgramException(
                ExitCode.Environment,
                $"this kernel's ublk driver is too old (Linux {KernelRelease.Running(system)}; GET_FEATURES: {PosixFile.Describe(errno)}): use Linux {KernelRelease.Oldest} or newer");
        }

        string task = $"cannot {Task(command)} {(id < 0 ? "a block device" : $"/dev/ublkb{id}")}";
        Rule? rule = Array.Find(s_rules, rule => (rule.Command is null || rule.Command == command) && rule.Errno == errno);
        if (rule is null)
        {
            return new ProgramException(
                ExitCode.Kernel, $"{task}: {UblkCommands.Name(command)} failed with error {errno} ({PosixFile.Describe(errno)}): the kernel's log (dmesg) may say why");
        }

        string limit = system.Text("/sys/module/ublk_drv/parameters/ublks_max") is { } most ? $" than {most}" : string.Empty;
        string message = $"{task}: {rule.Cause}: {rule.Remedy}"
            .Replace("{limit}", limit, StringComparison.Ordinal)
            .Replace("{id}", id < 0 ? "N" : $"{id}", StringComparison.Ordinal);
        return new ProgramException(rule.ExitCode, message);
    }

    /// <summary>A command was not completed in time.</summary>
    /// <param name="command">The command.</param>
    /// <param name="id">The device; -1 if the driver was to choose one.</param>
    /// <param name="deadline">How long it was given.</param>
    /// <param name="system">The machine's files.</param>
    public static ProgramException TimedOut(uint command, int id, TimeSpan deadline, SystemFiles system)
    {
        string likely = command switch
        {
            UblkCommands.StartDevice => "every tag has to be fetched, and older kernels read the partition table, which the backend has to answer: the logs of both say more; otherwise ",
            UblkCommands.StopDevice or UblkCommands.TryStopDevice => "I/O that is under way has to end first: the backend may not answer, end it or start it again; otherwise ",
            UblkCommands.DeleteDevice => $"a process that has /dev/ublkc{id} or /dev/ublkb{id} open has to close it first: 'fuser -v' on them shows it; otherwise ",
            UblkCommands.EndUserRecovery => "the new server has to fetch every tag first: its log says more; otherwise ",
            UblkCommands.AddDevice => "a device that cannot be stopped or deleted holds up others, too: 'muenblock-ublk list' shows devices; otherwise ",
            _ => string.Empty,
        };
        string device = id < 0 ? "a new device" : $"/dev/ublkb{id}";
        return new ProgramException(
            ExitCode.Kernel,
            $"the kernel did not complete {UblkCommands.Name(command)} of {device} within {deadline.TotalSeconds:0.#} s: {likely}{KernelRelease.DescribeHang(KernelRelease.Running(system))}");
    }

    /// <summary>
    /// A device that outlives its server is not given to another one. Drivers from 6.8 to 6.14 forget with START_USER_RECOVERY that the device has had queues
    /// (nr_queues_ready), and refuse the command to whoever sends it again before all tags were fetched.
    /// </summary>
    /// <param name="id">The device.</param>
    /// <param name="system">The machine's files.</param>
    public static ProgramException CutOff(int id, SystemFiles system) => new(
        ExitCode.Kernel,
        $"/dev/ublkb{id} cannot be taken over any more: an earlier take-over of it was cut off, and this kernel's driver ({KernelRelease.Running(system)}; those of 6.8 to 6.14 do so) begins none a second time: give it up ('muenblock-ublk del --force {id}'), its waiting I/O fails, and add it anew");

    /// <summary>The control device cannot be opened.</summary>
    /// <param name="path">The control device.</param>
    /// <param name="errno">The positive error number.</param>
    /// <param name="system">The machine's files.</param>
    public static ProgramException CannotOpen(string path, int errno, SystemFiles system)
    {
        if (errno == ENOENT || errno == ENXIO || errno == ENODEV)
        {
            string release = KernelRelease.Running(system);
            bool loaded = system.Exists("/sys/class/misc/ublk-control");
            bool installed = system.Lines($"/lib/modules/{release}/modules.dep").Any(line => line.Contains("/ublk_drv.ko", StringComparison.Ordinal));
            string remedy = loaded ? $"the driver is there, but not its node: in a container, pass the device in (--device {path}) and let it use /dev/ublkc* and /dev/ublkb*"
                : installed ? "the driver is not loaded: 'modprobe ublk_drv'"
                : $"the driver is not loaded, and Linux {release} has no module for it here: 'modprobe ublk_drv' where the modules are, install the distribution's package of extra modules, or use a kernel with CONFIG_BLK_DEV_UBLK";
            return new ProgramException(ExitCode.Environment, $"there is no {path}: {remedy}");
        }

        return errno == EACCES || errno == EPERM
            ? new ProgramException(ExitCode.Environment, $"{path} may not be opened ({PosixFile.Describe(errno)}): run as root; in a container, let its device cgroup allow it")
            : new ProgramException(ExitCode.Environment, $"{path} cannot be opened: {PosixFile.Describe(errno)}");
    }

    private static string Task(uint command) => command switch
    {
        UblkCommands.AddDevice => "add",
        UblkCommands.DeleteDevice or UblkCommands.DeleteDeviceAsync => "delete",
        UblkCommands.StartDevice => "start",
        UblkCommands.StopDevice or UblkCommands.TryStopDevice => "stop",
        UblkCommands.SetParameters => "set the parameters of",
        UblkCommands.GetParameters or UblkCommands.GetDeviceInfo or UblkCommands.GetDeviceInfo2 or UblkCommands.GetQueueAffinity => "look at",
        UblkCommands.StartUserRecovery or UblkCommands.EndUserRecovery => "take over",
        UblkCommands.QuiesceDevice => "quiesce",
        UblkCommands.UpdateSize => "change the size of",
        UblkCommands.RegisterBuffer => "register a buffer with",
        _ => "command",
    };

    /// <summary>What an error number of a command means; the first rule that fits counts.</summary>
    /// <param name="Command">The command; null for any.</param>
    /// <param name="Errno">The positive error number.</param>
    /// <param name="ExitCode">What kind of failure it is.</param>
    /// <param name="Cause">What is wrong.</param>
    /// <param name="Remedy">What to do.</param>
    private sealed record Rule(uint? Command, int Errno, ExitCode ExitCode, string Cause, string Remedy);
}
