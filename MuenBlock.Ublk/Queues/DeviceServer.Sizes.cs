using Microsoft.Extensions.Logging;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Control;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Queues;

/// <summary>
/// Devices that grow while they are used. A connection's thread learns of it, the control side tells the kernel. A device never shrinks: its users
/// were promised what it has.
/// </summary>
internal sealed partial class DeviceServer
{
    private readonly Dictionary<int, ulong> _notGrown = [];
    private readonly GrowthPace _pace = new();

    private bool Grows => _control.Features.HasFlag(UblkFeatures.UpdateSize);

    /// <summary>Asks the servers for the sizes of their devices, and tries again what the kernel refused before.</summary>
    public void AskSizes()
    {
        _notGrown.Clear();
        foreach (ServedConnection connection in _connections)
        {
            connection.SizeAnswersBefore = connection.Thread.SizeAnswers;
            connection.Thread.AskSizes();
        }
    }

    /// <summary>Whether an <see cref="AskSizes"/> has ended since the last call, on every connection.</summary>
    /// <param name="complete">Whether all servers have answered.</param>
    public bool TakeSizeAnswer(out bool complete)
    {
        bool isNew = _connections.TrueForAll(connection => connection.Thread.SizeAnswers.All != connection.SizeAnswersBefore.All);
        complete = true;
        if (!isNew) return false;
        _pace.Forget();
        foreach (ServedConnection connection in _connections)
        {
            (int All, int Failed) answers = connection.Thread.SizeAnswers;
            complete &= answers.Failed == connection.SizeAnswersBefore.Failed;
            connection.SizeAnswersBefore = answers;
        }

        return true;
    }

    /// <summary>What the servers said last of a device: as large as all of them say, as I/O may take any connection; which disk, as any of them can tell.</summary>
    /// <param name="device">One of the devices.</param>
    public DeviceGeometry GeometryOf(BlockDevice device)
    {
        DeviceGeometry common = _connections[0].Thread.Devices[device.Device];
        for (int i = 1; i < _connections.Count; i++) common = JoinedDevices.Common(common, _connections[i].Thread.Devices[device.Device]);
        return common;
    }

    /// <summary>Makes devices larger whose disks have grown; to be called now and then, on the main thread. Where none has, nothing is allocated (I4).</summary>
    public void LookAtSizes()
    {
        long now = Environment.TickCount64;
        if (!_pace.Allows(now)) return;
        bool any = false;
        foreach (BlockDevice device in _devices)
        {
            if (Array.Exists(device.Queues, static queue => queue.Closed.IsSet)) continue;
            DeviceGeometry geometry = GeometryOf(device);
            if (geometry.BrokenRule is not null || geometry.Size <= device.Size || _notGrown.GetValueOrDefault(device.Id) == geometry.Size) continue;
            Grow(device, geometry.Size);
            any = true;
        }

        if (any) _pace.Grown(now);
    }

    private void Grow(BlockDevice device, ulong size)
    {
        if (!Grows)
        {
            _notGrown[device.Id] = size;
            LogCannotGrow(_log, device.Path, size);
            return;
        }

        ulong before = device.Size;
        try
        {
            device.Grow(size);
            LogGrown(_log, device.Path, before, size);
        }
        catch (ProgramException failure)
        {
            // Until somebody asks: a driver that is stuck must not be given more to do every second.
            _notGrown[device.Id] = size;
            LogNotGrown(_log, device.Path, size, failure.Message);
        }
    }

    [LoggerMessage(45, LogLevel.Information, "{Path}: has grown from {Before} to {Size} bytes")]
    private static partial void LogGrown(ILogger log, string path, ulong before, ulong size);

    [LoggerMessage(44, LogLevel.Warning, "{Path}: its disk has grown to {Size} bytes, but this kernel's driver cannot change the size of a device (UPDATE_SIZE, Linux 6.16): the next 'add' uses them")]
    private static partial void LogCannotGrow(ILogger log, string path, ulong size);

    [LoggerMessage(46, LogLevel.Error, "{Path}: its disk has grown to {Size} bytes, the device has not: {Reason}; 'muenblock-ublk resize' tries again")]
    private static partial void LogNotGrown(ILogger log, string path, ulong size, string reason);
}
