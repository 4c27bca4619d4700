namespace MuenBlock.IoUring;

/// <summary>What a ring is to be like. What the kernel lacks is done without; <see cref="Ring.Setup"/> tells what was obtained.</summary>
public sealed record RingOptions
{
    /// <summary>The most submission entries that the kernel allows (IORING_MAX_ENTRIES, io_uring/io_uring.h).</summary>
    public const uint MaximumEntries = 32768;

    /// <summary>Submission entries, 1 to <see cref="MaximumEntries"/>; the kernel rounds up to a power of two.</summary>
    public required uint Entries { get; init; }

    /// <summary>
    /// Completion entries, at least <see cref="Entries"/> and at most twice <see cref="MaximumEntries"/>, rounded up to a power of
    /// two; 0 for the kernel's default, twice the submission entries. More completions than that are kept by the kernel, at a cost.
    /// </summary>
    public uint CompletionEntries { get; init; }

    /// <summary>Entries of 128 bytes instead of 64 (IORING_SETUP_SQE128), as ublk's control commands need.</summary>
    public bool LargeEntries { get; init; }

    /// <summary>
    /// Only the thread that creates the ring ever uses it. Lets the kernel leave out locks and interrupts, and is enforced.
    /// Without it several threads may take turns, never two at once.
    /// </summary>
    public bool SingleIssuer { get; init; } = true;
}
