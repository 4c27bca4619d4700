using Microsoft.Extensions.Logging;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Control;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Queues;

/// <summary>
/// Taking over devices that wait. The driver keeps every I/O that had no answer and issues it anew, with its data, so nothing in the buffer
/// needs to be kept: only the number of tags and the size of an I/O stay what they were, and those the driver knows.
/// Whatever fails on the way, and wherever this process dies, the devices go on waiting; but older drivers (6.8 to 6.14) give a device to nobody any more
/// of which a take-over was begun and not all tags were fetched. So what can fail is done before it is begun.
/// </summary>
internal sealed partial class DeviceServer
{
    private const int SectorShift = 9;

    private void TakeOver(ServerOptions options)
    {
        var sizes = new ulong[options.Waiting.Count];
        for (int i = 0; i < sizes.Length; i++) sizes[i] = CheckAgainst(options.Waiting[i], _geometries, options.AcceptsOtherDisks);
        DeviceInfo first = options.Waiting[0];
        if (options.Waiting.Any(info => info.QueueDepth != first.QueueDepth || info.LargestIoBytes != first.LargestIoBytes))
            throw new ProgramException(ExitCode.Resource, $"the devices that wait on {options.Connections.Name} were not added together: delete some of them ('muenblock-ublk list' shows them)");
        bool sharesMemory = options.Waiting.Any(info => info.Flags.HasFlag(UblkFeatures.SharedMemoryZeroCopy));
        var layout = BufferLayout.Keep(BufferLength, sizes.Length, MostInFlight, MergesByBytes(options), first.QueueDepth, first.LargestIoBytes, sharesMemory);

        ConnectionOptions.Check(options.Serving.Patience, sharesMemory);
        if (sharesMemory)
        {
            _sharesMemory = ApplicationMemory.IsIn(options.Waiting.Select(info => DeviceRecord.TryLoad((int)info.DeviceId)).OfType<DeviceRecord>(), OnlyBuffer);
            if (!_sharesMemory) LogSharesNot(_log, options.Connections.Name);
        }

        Prepare(layout, (int)first.DeviceId, options);

        // The driver lets only one process at a time have a character device, so nobody else can be half-way through the same.
        for (int index = 0; index < sizes.Length; index++)
        {
            _control.StartRecovery((int)options.Waiting[index].DeviceId);
            _devices.Add(BlockDevice.Adopt(_control, options.Waiting[index], index, sizes[index]));
        }

        Assign(layout);
        foreach (BlockDevice device in _devices)
        {
            device.Resume();
            LogTakenOver(_log, device.Path, device.Device, device.Size, layout.Depth, layout.LargestSlotIo);
            LogQueues(device, options);
        }
    }

    /// <summary>A server must have what the kernel was promised. More is no harm; less would lose data.</summary>
    /// <returns>The device's size in bytes, as the kernel knows it.</returns>
    private ulong CheckAgainst(in DeviceInfo info, DeviceGeometry[] geometries, bool acceptsOtherDisks)
    {
        int id = (int)info.DeviceId;
        int device = Ownership.DeviceIndex(info);
        BasicParameters known = _control.GetParameters(id).Basic;
        ulong size = known.DeviceSectors << SectorShift;
        uint block = 1u << known.LogicalBlockShift;
        ulong disk = DeviceRecord.TryLoad(id)?.DiskNumber ?? 0;
        if (!acceptsOtherDisks && device < geometries.Length && DiskIdentity.Differ(disk, geometries[device].Identity))
        {
            throw new ProgramException(
                ExitCode.Peer,
                $"/dev/ublkb{id} is not taken over: device {device} of the backend is disk {geometries[device].Identity:x16} instead of {disk:x16}; export the one that it was made of, or say that this one has its contents (--other-disk)");
        }

        string? difference = device >= geometries.Length || geometries[device].Blocks == 0 ? $"the backend has no device {device} any more"
            : geometries[device].BlockLength != block ? $"device {device} of the backend has blocks of {geometries[device].BlockLength} bytes instead of {block}"
            : geometries[device].Size < size ? $"device {device} of the backend has {geometries[device].Size} bytes instead of {size}"
            : geometries[device].MostBytes < info.LargestIoBytes ? $"device {device} of the backend takes I/O of {geometries[device].MostBytes} bytes instead of {info.LargestIoBytes}"
            : null;
        return difference is null
            ? size
            : throw new ProgramException(ExitCode.Peer, $"/dev/ublkb{id} is not taken over: {difference}; export what it was made of, or give it up ('muenblock-ublk del --force {id}')");
    }

    [LoggerMessage(53, LogLevel.Warning, "{Connections}: I/O from and to applications' memory fails (EFAULT), as the record that tells which file that is was lost: delete the devices and add them anew to have it again")]
    private static partial void LogSharesNot(ILogger log, string connections);
}
