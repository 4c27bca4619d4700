using Microsoft.Extensions.Logging;
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
    private void TakeOver(ServerOptions options, Action<BlockDevice> record)
    {
        var waiting = new WaitingDevices(_control, static id => DeviceRecord.TryLoad(id));
        DeviceInfo[] infos = [.. options.Waiting.Select(info => waiting.LookAgain(info))];
        DevicePromise[] promises = [.. infos.Select(info => waiting.Compare(info, _geometries, options.AcceptsOtherDisks))];
        DeviceInfo first = infos[0];
        if (Array.Exists(infos, info => info.QueueDepth != first.QueueDepth || info.LargestIoBytes != first.LargestIoBytes))
            throw new ProgramException(ExitCode.Resource, $"the devices that wait on {options.Connections.Name} were not added together: delete some of them ('muenblock-ublk list' shows them)");
        bool sharesMemory = Array.Exists(infos, info => info.Flags.HasFlag(UblkFeatures.SharedMemoryZeroCopy));
        var layout = BufferLayout.Keep(BufferLength, infos.Length, MostInFlight, MergesByBytes(options), first.QueueDepth, first.LargestIoBytes, sharesMemory);

        ConnectionOptions.Check(options.Serving.Patience, sharesMemory);
        if (sharesMemory)
        {
            _sharesMemory = ApplicationMemory.IsIn(infos.Select(info => DeviceRecord.TryLoad((int)info.DeviceId)).OfType<DeviceRecord>(), OnlyBuffer);
            if (!_sharesMemory) LogSharesNot(_log, options.Connections.Name);
        }

        Prepare(layout, (int)first.DeviceId, options);

        // The driver lets only one process at a time have a character device, so nobody else can be half-way through the same.
        for (int index = 0; index < infos.Length; index++)
        {
            _control.StartRecovery((int)infos[index].DeviceId);
            _devices.Add(BlockDevice.Adopt(_control, infos[index], index, promises[index]));
        }

        Assign(layout);
        foreach (BlockDevice device in _devices)
        {
            device.Resume();
            record(device);
            LogTakenOver(_log, device.Path, device.Device, device.Size, layout.Depth, layout.LargestSlotIo);
            LogQueues(device, options);
            if (!device.Promise.IsReadOnly && _geometries[device.Device].IsReadOnly) LogReadOnly(_log, device.Path);
        }
    }

    [LoggerMessage(54, LogLevel.Warning, "{Path}: its backend is read-only, which was accepted (--other-disk): what is written to it fails")]
    private static partial void LogReadOnly(ILogger log, string path);

    [LoggerMessage(53, LogLevel.Warning, "{Connections}: I/O from and to applications' memory fails (EFAULT), as no record tells which file that is, being lost, or the file was cut off: delete the devices and add them anew to have it again")]
    private static partial void LogSharesNot(ILogger log, string connections);
}
