using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Control;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Queues;

/// <summary>
/// Devices that wait, as a process that takes them over finds them once it has their connections' locks and their servers' answers: whether they still are
/// what it came for, and whether the servers have what the devices' users were promised.
/// </summary>
/// <param name="control">The driver.</param>
/// <param name="record">Reads a device's record.</param>
internal sealed class WaitingDevices(ControlPlane control, Func<int, DeviceRecord?> record)
{
    private const int SectorShift = 9;

    /// <summary>
    /// Looks at a device again. Locks and servers may have been waited for for hours: meanwhile it may have been deleted, and the next device with its number,
    /// which is another connection's, may have lost its server.
    /// </summary>
    /// <param name="found">What the driver said of it before.</param>
    /// <returns>What it says now. While the locks are held nobody else serves it.</returns>
    /// <exception cref="ProgramException">It is another one, or does not wait any more.</exception>
    public DeviceInfo LookAgain(in DeviceInfo found)
    {
        int id = (int)found.DeviceId;
        return control.TryGetInfo(id) is { } now && now.ServerFlags == found.ServerFlags && now.Waits
            && (now.HardwareQueues, now.QueueDepth, now.LargestIoBytes) == (found.HardwareQueues, found.QueueDepth, found.LargestIoBytes)
            ? now
            : throw new ProgramException(
                ExitCode.Busy,
                $"/dev/ublkb{id} is not taken over: while its connection was waited for it was deleted, or another process took it over: 'muenblock-ublk list' shows what there is now");
    }

    /// <summary>Compares a device with what the servers have. More is no harm; less would lose data.</summary>
    /// <param name="info">What the driver says of it.</param>
    /// <param name="geometries">What the servers said of their devices.</param>
    /// <param name="acceptsOtherDisks">Whether it may be another disk, or one that cannot be written.</param>
    /// <returns>What the kernel knows of it.</returns>
    /// <exception cref="ProgramException">They have less.</exception>
    public DevicePromise Compare(in DeviceInfo info, IReadOnlyList<DeviceGeometry> geometries, bool acceptsOtherDisks)
    {
        int id = (int)info.DeviceId;
        int device = Ownership.DeviceIndex(info);
        BasicParameters known = control.GetParameters(id).Basic;
        var promise = new DevicePromise(known.DeviceSectors << SectorShift, known.Attributes.HasFlag(DeviceAttributes.ReadOnly));
        uint block = 1u << known.LogicalBlockShift;
        DeviceGeometry now = device < geometries.Count ? geometries[device] : default;
        ulong disk = record(id)?.DiskNumber ?? 0;
        if (!acceptsOtherDisks && DiskIdentity.Differ(disk, now.Identity))
        {
            throw new ProgramException(
                ExitCode.Peer,
                $"/dev/ublkb{id} is not taken over: device {device} of the backend is disk {now.Identity:x16} instead of {disk:x16}; export the one that it was made of, or say that this one has its contents (--other-disk)");
        }

        string? difference = now.Blocks == 0 ? $"the backend has no device {device} any more"
            : now.BlockLength != block ? $"device {device} of the backend has blocks of {now.BlockLength} bytes instead of {block}"
            : now.Size < promise.Size ? $"device {device} of the backend has {now.Size} bytes instead of {promise.Size}"
            : now.MostBytes < info.LargestIoBytes ? $"device {device} of the backend takes I/O of {now.MostBytes} bytes instead of {info.LargestIoBytes}"
            : null;
        if (difference is not null)
            throw new ProgramException(ExitCode.Peer, $"/dev/ublkb{id} is not taken over: {difference}; export what it was made of, or give it up ('muenblock-ublk del --force {id}')");
        if (!acceptsOtherDisks && !promise.IsReadOnly && now.IsReadOnly)
        {
            throw new ProgramException(
                ExitCode.Peer,
                $"/dev/ublkb{id} is not taken over: device {device} of the backend is read-only, and what waits to be written would fail; export it for writing, or say that this is wanted (--other-disk)");
        }

        return promise;
    }
}
