using static Tmds.Linux.LibC;

namespace MuenBlock.Ublk.Control;

/// <summary>Taking over a block device whose server has died (ublk.rst, "user recovery").</summary>
internal sealed partial class ControlPlane
{
    private const int RetryMilliseconds = 10;

    /// <summary>What makes a device outlive its server: I/O waits, and what was in flight is issued again.</summary>
    public const UblkFeatures Recoverable = UblkFeatures.UserRecovery | UblkFeatures.UserRecoveryReissue;

    /// <summary>What of this a device can be added with; nothing where the driver has only a part of it.</summary>
    public UblkFeatures RecoveryFeatures => (Features & Recoverable) != Recoverable ? 0 : Recoverable;

    /// <summary>
    /// Begins to take over a device (START_USER_RECOVERY). The driver notices a server's death after a moment: until then it is asked again.
    /// </summary>
    /// <param name="id">The device, whose server is gone.</param>
    public void StartRecovery(int id)
    {
        long end = Environment.TickCount64 + (long)Deadline.TotalMilliseconds;
        int result;
        while ((result = Execute(UblkCommands.StartUserRecovery, id, [], 0, 0, Deadline)) == -EBUSY && Environment.TickCount64 < end)
            Thread.Sleep(RetryMilliseconds);
        Check(UblkCommands.StartUserRecovery, id, result);
    }

    /// <summary>Ends the taking over (END_USER_RECOVERY): I/O flows again. Returns when every tag was fetched, so another thread must be serving.</summary>
    /// <param name="id">The device.</param>
    /// <param name="pid">The new serving process, which opened the character device.</param>
    public void EndRecovery(int id, int pid) => Run(UblkCommands.EndUserRecovery, id, [], (ulong)pid, LongDeadline);
}
