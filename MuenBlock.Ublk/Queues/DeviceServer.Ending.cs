using Microsoft.Extensions.Logging;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Queues;

/// <summary>The end: devices are deleted, or left to another server.</summary>
internal sealed partial class DeviceServer
{
    private static readonly TimeSpan s_closePatience = TimeSpan.FromSeconds(30); // for the last I/O of a device that was stopped
    private static readonly TimeSpan s_passingUse = TimeSpan.FromSeconds(2); // udev's look at a device takes less

    private int _removed;
    private BlockDevice[] _remaining = [];

    /// <summary>Stops and deletes the devices that are still there, whoever uses them; but not one that waits for another server.</summary>
    public void Dispose()
    {
        if (HasLetGo) return;
        for (; _removed < _devices.Count; _removed++) _ = TryRemove(_devices[_removed], unlessUsed: false);
        End();
    }

    /// <summary>Stops and deletes the devices, up to one of which the driver says that somebody has begun to use it: that one and those after it stay as they are.</summary>
    /// <returns>Whether all are gone, or as far as they can be.</returns>
    public bool TryRemove()
    {
        if (HasLetGo) return true;
        for (; _removed < _devices.Count; _removed++)
        {
            if (!TryRemove(_devices[_removed], unlessUsed: true)) return false;
        }

        return true;
    }

    /// <summary>
    /// Lets go of the connections and of the devices, which wait for another server from now on unless they were stopped. No command is needed for that, so nothing can hold it up.
    /// </summary>
    public void Leave()
    {
        if (HasLetGo) return;

        // Where tags were aborted and nothing is under way the driver wants no server any more: the device was stopped, or another server is expected. A
        // thread that has failed has closed its queues without that.
        foreach (BlockDevice device in _devices.Where(device => !device.IsClosed || (Failure is not null && DeviceDirectory.Ids().Contains(device.Id)))) LogLeft(_log, device.Path);
        End();
    }

    /// <summary>Whether a device waits for another server, or will when this one leaves; else it was stopped.</summary>
    /// <param name="device">One of the devices, before <see cref="Leave"/>.</param>
    public bool IsLeaving(BlockDevice device)
    {
        try
        {
            return _control.TryGetInfo(device.Id) is { State: not DeviceState.Dead } info && Ownership.IsStill(info, device.Mark, Environment.ProcessId);
        }
        catch (ProgramException)
        {
            return true; // what is known of it is kept
        }
    }

    /// <summary>Whether the driver still had a device when this server had let go of it, so that what is known of it is kept.</summary>
    /// <param name="device">One of the devices, after <see cref="Dispose"/> or <see cref="Leave"/>.</param>
    public bool Remains(BlockDevice device) => _remaining.Contains(device);

    private void End()
    {
        HasLetGo = true;
        Join();
        foreach (BlockDevice device in _devices) device.Close();
        foreach (ServedConnection connection in _connections) connection.Dispose();

        // From here on nobody waits for this process, should the driver not answer.
        _remaining = [.. _devices.Where(device => Ownership.IsStillThere(_control, device.Id, device.Mark))];
        _control.Dispose();
    }

    private bool TryRemove(BlockDevice device, bool unlessUsed)
    {
        try
        {
            // A thread that has failed ends no I/O any more, for which the driver would wait.
            bool failed = _serving && Failure is not null;
            if (failed) Join();
            if (_control.TryGetInfo(device.Id) is not { } info || !Ownership.IsStill(info, device.Mark, Environment.ProcessId) || info.Waits) return true;

            // Tags of it were aborted without it being stopped: it waits, or is about to (QUIESCE_DEV).
            if (_serving && device.IsClosed && info.State != DeviceState.Dead) return true;
            if (!device.IsClosed)
            {
                if (!unlessUsed)
                {
                    device.Stop();
                }
                else if (!device.TryStop(s_passingUse))
                {
                    IReadOnlyList<string> users = DeviceHolders.FindWithClaims(device.Id);
                    LogUsed(_log, device.Path, users.Count > 0 ? string.Join(", ", users) : "who, cannot be seen");
                    return false;
                }
            }

            if (!_serving || failed) device.Close();
            if (!device.AwaitClosed(s_closePatience)) LogNotClosed(_log, device.Path);
            device.Delete();
        }
        catch (ProgramException failure)
        {
            LogNotRemoved(_log, device.Path, failure.Message);
        }

        return true;
    }

    [LoggerMessage(49, LogLevel.Warning, "{Path}: not removed, as somebody has begun to use it: {Users}")]
    private static partial void LogUsed(ILogger log, string path, string users);

    [LoggerMessage(31, LogLevel.Error, "{Path}: its last I/O has not ended in time; its backend may be stuck")]
    private static partial void LogNotClosed(ILogger log, string path);

    [LoggerMessage(32, LogLevel.Error, "{Path}: not removed: {Reason}")]
    private static partial void LogNotRemoved(ILogger log, string path, string reason);

    [LoggerMessage(36, LogLevel.Warning, "{Path}: left; its I/O waits for another server ('muenblock-ublk recover')")]
    private static partial void LogLeft(ILogger log, string path);
}
