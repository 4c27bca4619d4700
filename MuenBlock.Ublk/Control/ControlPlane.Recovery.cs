using static Tmds.Linux.LibC;

namespace MuenBlock.Ublk.Control;

/// <summary>Taking over a block device whose server has died (ublk.rst, "user recovery").</summary>
internal sealed partial class ControlPlane
{
    private const int RetryMilliseconds = 10;

    /// <summary>What makes a device outlive its server: I/O waits, and what was in flight is issued again.</summary>
    public const UblkFeatures Recoverable = UblkFeatures.UserRecovery | UblkFeatures.UserRecoveryReissue;

    /// <summary>What of this a device can be added with, and whether it can be taken from its server in good order; nothing where the driver has only a part of it.</summary>
    public UblkFeatures RecoveryFeatures => (Features & Recoverable) != Recoverable ? 0 : Recoverable | (Features & UblkFeatures.Quiesce);

    /// <summary>
    /// The same for a device whose tags come in batches. QUIESCE_DEV would abort its queue by what says elsewhere that the device is about to be
    /// removed (force_abort, ublk_batch_cancel_queue as of Linux 7.3), so that I/O fails until there is another server, instead of waiting for it.
    /// </summary>
    public UblkFeatures BatchFeatures => (RecoveryFeatures & ~UblkFeatures.Quiesce) | UblkFeatures.BatchIo;

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
        if (result == -EINVAL && TryGetInfo(id) is { } info && (info.Flags & Recoverable) == Recoverable) throw ControlErrors.CutOff(id, _system);
        Check(UblkCommands.StartUserRecovery, id, result);
    }

    /// <summary>Ends the taking over (END_USER_RECOVERY): I/O flows again. Returns when every tag was fetched, so another thread must be serving.</summary>
    /// <param name="id">The device.</param>
    /// <param name="pid">The new serving process, which opened the character device.</param>
    public void EndRecovery(int id, int pid) => Run(UblkCommands.EndUserRecovery, id, [], (ulong)pid, LongDeadline);

    /// <summary>Lets a device wait for another server (QUIESCE_DEV): its server gets no more I/O and is told by those of its tags that are not in use, which are aborted.</summary>
    /// <param name="id">The device, added with <see cref="UblkFeatures.Quiesce"/>.</param>
    /// <param name="patience">How long to wait for a tag that is not in use.</param>
    /// <returns>False if all of them stayed in use.</returns>
    public bool TryQuiesce(int id, TimeSpan patience)
    {
        int result = Execute(UblkCommands.QuiesceDevice, id, [], (ulong)patience.TotalMilliseconds, 0, patience + Deadline);
        if (result == -EBUSY) return false;
        Check(UblkCommands.QuiesceDevice, id, result);
        return true;
    }
}
