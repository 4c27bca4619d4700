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

    /// <summary>
    /// A thread of the kernel takes entries as soon as <see cref="Ring.Enter"/> has published them (IORING_SETUP_SQPOLL), so that
    /// submitting costs no system call while it is awake. It sleeps after so long without work: at least a millisecond, at most
    /// <see cref="LongestIdle"/>. Null for none: then the call itself submits. The thread takes a whole CPU while it is awake.
    /// </summary>
    public TimeSpan? SubmissionThreadIdle { get; init; }

    /// <summary>
    /// Completions are looked for at the device instead of being waited for (IORING_SETUP_IOPOLL): each <see cref="Ring.Enter"/> looks
    /// once. Such a ring takes only reads and writes past the page cache, of devices with queues that can be polled.
    /// </summary>
    public bool PollsDevices { get; init; }

    /// <summary>
    /// The only operations that the ring takes; null for all. An entry of another one fails with EACCES, and so does a registration of what this
    /// library does not register, whoever asks for it (IORING_REGISTER_RESTRICTIONS). An operation that the kernel does not know is passed over.
    /// </summary>
    public IReadOnlyCollection<Operation>? Operations { get; init; }

    /// <summary>The longest <see cref="SubmissionThreadIdle"/>: beyond it the thread might as well never sleep.</summary>
    public static TimeSpan LongestIdle => TimeSpan.FromSeconds(60);
}
