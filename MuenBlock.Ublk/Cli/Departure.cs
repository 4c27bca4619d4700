namespace MuenBlock.Ublk.Cli;

/// <summary>How a server ends.</summary>
internal enum ServerEnd
{
    /// <summary>Its devices go with it.</summary>
    Remove,

    /// <summary>They wait for another server, if they outlive this one.</summary>
    Leave,
}

/// <summary>
/// What a server does that is asked to end:
/// <list type="number">
/// <item>while somebody uses a device it goes on, and has to be asked again;</item>
/// <item>else it waits until no I/O is under way, and removes the devices if still nobody uses them;</item>
/// <item>I/O of which none has ended for 10 s would be waited for in vain: the devices are left to another server, unless somebody has begun to use them;</item>
/// <item>so they are if it is asked a second time within 10 s.</item>
/// </list>
/// </summary>
/// <param name="server">The server.</param>
internal sealed class Departure(IDepartingServer server)
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10); // for I/O that is under way, and for a second signal

    private long? _asked;
    private long _looked;
    private long _completed;
    private long _progressed;

    /// <summary>Whether the end is near: nobody uses the devices, and I/O that is under way is waited for.</summary>
    public bool IsDraining { get; private set; }

    /// <summary>The server is asked to end.</summary>
    /// <returns>How it ends at once; null if it goes on.</returns>
    public ServerEnd? Ask()
    {
        long now = server.Milliseconds;
        bool again = _asked is { } before && now - before <= s_patience.TotalMilliseconds;
        bool wasDraining = IsDraining;
        (_asked, _looked, _progressed, _completed) = (now, now, now, server.CompletedIos);
        IsDraining = !server.IsInUse();
        return again && server.IsRecoverable && (wasDraining || !IsDraining) ? ServerEnd.Leave : null;
    }

    /// <summary>To be called now and then.</summary>
    /// <returns>How the server ends; null if it goes on.</returns>
    public ServerEnd? Look()
    {
        if (!IsDraining) return null;
        if (server.IsIdle)
        {
            // Somebody may have come while I/O was waited for, and may come until the driver has stopped the last device.
            IsDraining = !server.IsInUse() && server.TryRemove();
            return IsDraining ? ServerEnd.Remove : null;
        }

        // Data may still be written of a program that is closing the device, which nobody can be seen to use then.
        long now = server.Milliseconds;
        long completed = server.CompletedIos;
        if (completed != _completed) (_completed, _progressed) = (completed, now);
        bool isStuck = now - _progressed >= s_patience.TotalMilliseconds;
        if (!isStuck && now - _looked < s_patience.TotalMilliseconds) return null;
        _looked = now;
        IsDraining = !server.IsInUse();
        return IsDraining && isStuck ? ServerEnd.Leave : null;
    }
}

/// <summary>The server that a <see cref="Departure"/> is about.</summary>
internal interface IDepartingServer
{
    /// <summary>A clock that never goes back.</summary>
    long Milliseconds { get; }

    /// <summary>Whether its devices wait for another server when it leaves.</summary>
    bool IsRecoverable { get; }

    /// <summary>Whether no I/O is under way.</summary>
    bool IsIdle { get; }

    /// <summary>I/Os that have ended since the devices were made.</summary>
    long CompletedIos { get; }

    /// <summary>Whether somebody uses a device, which is said.</summary>
    bool IsInUse();

    /// <summary>Removes the devices, unless somebody uses one.</summary>
    /// <returns>Whether all are gone.</returns>
    bool TryRemove();
}
