using MuenBlock.Protocol.Programs;

namespace MuenBlock.Ublk.Control;

/// <summary>
/// Lets a block device grow with its disk, from another process than the one that serves it. Only that one can ask the backend: it gets a signal, asks, tells
/// the kernel, and writes what it was answered into the device's record.
/// </summary>
/// <param name="control">The driver.</param>
/// <param name="machine">What else is looked at.</param>
internal sealed class DeviceGrowth(ControlPlane control, IRemovalMachine machine)
{
    private const int SectorShift = 9;
    private const int LookMilliseconds = 10;

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(20); // the server's with its backend, and the driver's with a command

    /// <summary>Lets a device grow.</summary>
    /// <param name="id">The N of /dev/ublkbN.</param>
    /// <returns>How large it is now, in words.</returns>
    /// <exception cref="ProgramException">It has not the size of its disk; the message says why.</exception>
    public string Grow(int id)
    {
        DeviceInfo info = control.TryGetInfo(id)
            ?? throw new ProgramException(ExitCode.NotFound, $"there is no /dev/ublkb{id}: 'muenblock-ublk list' shows the devices there are");
        if (!Ownership.IsOurs(info)) throw new ProgramException(ExitCode.NotFound, $"/dev/ublkb{id} is another program's");
        if (UnseenServer.MayServe(info, machine))
            throw new ProgramException(ExitCode.Busy, $"/dev/ublkb{id} is served by {UnseenServer.Name}, which cannot be asked: 'resize' has to run where that process can be seen");
        if (info.Server is not { } server || info.State != DeviceState.Live)
            throw new ProgramException(ExitCode.NotFound, $"/dev/ublkb{id} has no server: 'muenblock-ublk recover {id}' gives it one, and lets it grow");

        ulong before = SizeOf(id);
        DateTimeOffset? asked = machine.TryLoadRecord(id)?.SizeAsked;
        if (!machine.TryAskServer(id, server))
            throw new ProgramException(ExitCode.Busy, $"process {server}, which serves /dev/ublkb{id}, cannot be asked: it is of a version before ('muenblock-ublk upgrade {id}' replaces it, and its device grows), does not have /dev/ublkc{id} open, or is in another PID namespace");
        DeviceRecord? answered = Await(id, asked);
        ulong now = SizeOf(id);
        if (answered is null || answered.ServerSize == 0)
            throw new ProgramException(ExitCode.Peer, $"/dev/ublkb{id} has {now} bytes as before: its backend did not say how large the disk is; is it running? The log of process {server} says more");
        if (answered.ServerSize > long.MaxValue)
            throw new ProgramException(ExitCode.Peer, $"/dev/ublkb{id} has {now} bytes as before: its backend says that the disk is larger than a disk can be, which was refused; the log of process {server} says more");
        if (answered.ServerSize < now)
            throw new ProgramException(ExitCode.Resource, $"/dev/ublkb{id} stays as it is: its disk has only {answered.ServerSize} bytes, and users of the device were promised {now}: give the disk its size back, or delete the device and add it anew");
        if (answered.ServerSize > now)
        {
            throw control.Features.HasFlag(UblkFeatures.UpdateSize)
                ? new ProgramException(ExitCode.Kernel, $"/dev/ublkb{id} has {now} bytes, and not the {answered.ServerSize} of its disk: the log of process {server} says why the driver refused them")
                : new ProgramException(ExitCode.Environment, $"/dev/ublkb{id} has {now} bytes, and its disk {answered.ServerSize}: this kernel's driver cannot change the size of a device (UPDATE_SIZE, Linux 6.16 or newer): delete it and add it anew");
        }

        return now == before ? $"/dev/ublkb{id} has {now} bytes, as its disk" : $"/dev/ublkb{id} has grown from {before} to {now} bytes";
    }

    private ulong SizeOf(int id) => control.GetParameters(id).Basic.DeviceSectors << SectorShift;

    private DeviceRecord? Await(int id, DateTimeOffset? asked)
    {
        long end = machine.Milliseconds + (long)s_patience.TotalMilliseconds;
        while (machine.Milliseconds < end)
        {
            machine.Sleep(LookMilliseconds);
            if (machine.TryLoadRecord(id) is { SizeAsked: not null } record && record.SizeAsked != asked) return record;
        }

        return null;
    }
}
