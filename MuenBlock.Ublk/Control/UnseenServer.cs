namespace MuenBlock.Ublk.Control;

/// <summary>
/// Servers that cannot be seen from here. The driver tells a server's number as whoever asks it sees that process: one of another PID namespace, such as a
/// container's, has none, nor has one that has ended. Only where all processes of the machine can be seen is the second meant.
/// </summary>
internal static class UnseenServer
{
    /// <summary>What messages call such a process.</summary>
    public const string Name = "a process that cannot be seen from here, such as one in another PID namespace";

    /// <summary>Whether a device may be served by such a process. For a moment after its server's death every device may.</summary>
    /// <param name="info">The driver's information.</param>
    /// <param name="machine">What can be seen.</param>
    public static bool MayServe(in DeviceInfo info, IRecoveryMachine machine) =>
        info.State == DeviceState.Live && !machine.SeesAllProcesses && (info.ServerPid <= 0 || !machine.IsAlive(info.ServerPid));
}
