using Tmds.Linux;
using static Tmds.Linux.LibC;

namespace MuenBlock.IoUring;

/// <summary>A ring of the kernel: its descriptor and the two mappings of its memory.</summary>
internal sealed unsafe class RingMemory : IDisposable
{
    /// <summary>The size of a small entry as a power of two.</summary>
    public const int EntryShift = 6;

    // What every line of this library relies on: one mapping for both rings; completions that do not fit are kept; what an entry
    // points to besides its data is read during submission; a wait can have a time-out. All of them came before 5.19.
    private const RingFeatures Needed =
        RingFeatures.SingleMapping | RingFeatures.NoDrop | RingFeatures.StableSubmission | RingFeatures.ExtendedArgument;

    private readonly SetupParameters _parameters;
    private readonly nuint _ringsSize;
    private readonly nuint _entriesSize;
    private byte* _rings;
    private byte* _entries;

    private RingMemory(int descriptor, in SetupParameters parameters)
    {
        Descriptor = descriptor;
        _parameters = parameters;
        nuint submissionEnd = parameters.Submission.IndexTable + ((nuint)parameters.SubmissionEntries * sizeof(uint));
        nuint completionEnd = parameters.Completion.Completions + (parameters.CompletionEntries * (nuint)sizeof(Completion));
        _ringsSize = nuint.Max(submissionEnd, completionEnd);
        _entriesSize = (nuint)parameters.SubmissionEntries << (Setup.HasFlag(RingSetup.LargeEntries) ? EntryShift + 1 : EntryShift);
    }

    public int Descriptor { get; private set; }

    public RingSetup Setup => _parameters.Flags;

    public RingFeatures Features => _parameters.Features;

    public uint SubmissionEntries => _parameters.SubmissionEntries;

    public uint CompletionEntries => _parameters.CompletionEntries;

    public uint* SubmissionHead => (uint*)(_rings + _parameters.Submission.Head);

    public uint* SubmissionTail => (uint*)(_rings + _parameters.Submission.Tail);

    public SubmissionQueueFlags* SubmissionFlags => (SubmissionQueueFlags*)(_rings + _parameters.Submission.Flags);

    public uint* CompletionHead => (uint*)(_rings + _parameters.Completion.Head);

    public uint* CompletionTail => (uint*)(_rings + _parameters.Completion.Tail);

    public Completion* Completions => (Completion*)(_rings + _parameters.Completion.Completions);

    public byte* Entries => _entries;

    /// <summary>The kinds of ring to try, best first.</summary>
    public static RingSetup[] Ladder(RingOptions options)
    {
        // A refused entry must not hold up those behind it, wherever the kernel knows how.
        const RingSetup Cooperative = RingSetup.SubmitAll | RingSetup.CooperativeTaskRun | RingSetup.TaskRunFlag;
        const RingSetup Deferred = RingSetup.SubmitAll | RingSetup.SingleIssuer | RingSetup.DeferTaskRun | RingSetup.TaskRunFlag;
        const RingSetup Thread = RingSetup.SubmitAll | RingSetup.SubmissionThread;

        // Work that the kernel's thread submitted is worked off by it: there is nothing to defer or to flag.
        if (options.SubmissionThreadIdle is not null) return [Thread | RingSetup.SingleIssuer | RingSetup.NoIndexTable, Thread | RingSetup.SingleIssuer, Thread];
        return options.SingleIssuer
            ? [Deferred | RingSetup.NoIndexTable, Deferred, Cooperative | RingSetup.SingleIssuer, Cooperative, default]
            : [Cooperative | RingSetup.NoIndexTable, Cooperative, default];
    }

    /// <summary>Creates the first kind of ring that the kernel knows.</summary>
    /// <exception cref="RingException">There is none, or it cannot be had.</exception>
    public static RingMemory Create(RingOptions options, ReadOnlySpan<RingSetup> ladder)
    {
        RingSetup wanted = default;
        if (options.CompletionEntries != 0) wanted |= RingSetup.CompletionQueueSize;
        if (options.LargeEntries) wanted |= RingSetup.LargeEntries;
        if (options.PollsDevices) wanted |= RingSetup.PollDevices;
        if (options.Operations is not null) wanted |= RingSetup.StartsDisabled;
        int result = -EINVAL;
        foreach (RingSetup rung in ladder)
        {
            SetupParameters parameters = new()
            {
                Flags = wanted | rung,
                CompletionEntries = options.CompletionEntries,
                PollThreadIdle = (uint)(options.SubmissionThreadIdle?.TotalMilliseconds ?? 0),
            };
            result = Kernel.Setup(options.Entries, ref parameters);
            if (result >= 0) return Map(result, parameters);
            if (result != -EINVAL) break;
        }

        throw RingException.OnCreation(-result, ReadDisabled());
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Descriptor < 0) return;
        if (_rings != null) _ = munmap(_rings, (size_t)(ulong)_ringsSize);
        if (_entries != null) _ = munmap(_entries, (size_t)(ulong)_entriesSize);
        _rings = null;
        _entries = null;
        _ = close(Descriptor);
        Descriptor = -1;
    }

    private static RingMemory Map(int descriptor, in SetupParameters parameters)
    {
        RingMemory memory = new(descriptor, parameters);
        try
        {
            RingFeatures missing = Needed & ~parameters.Features;
            if (missing != 0) throw RingException.OnFeatures(missing);
            memory._rings = Map(descriptor, Kernel.RingsOffset, memory._ringsSize);
            memory._entries = Map(descriptor, Kernel.EntriesOffset, memory._entriesSize);

            // Entries are always used in order: the table of indices is filled once and never again.
            if (!memory.Setup.HasFlag(RingSetup.NoIndexTable))
            {
                uint* table = (uint*)(memory._rings + parameters.Submission.IndexTable);
                for (uint i = 0; i < parameters.SubmissionEntries; i++) table[i] = i;
            }

            return memory;
        }
        catch
        {
            memory.Dispose();
            throw;
        }
    }

    private static byte* Map(int descriptor, long offset, nuint size)
    {
        void* address = mmap(null, (size_t)(ulong)size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, descriptor, offset);
        return address == MAP_FAILED ? throw RingException.OnMapping(errno) : (byte*)address;
    }

    private static string ReadDisabled()
    {
        try
        {
            return File.ReadAllText("/proc/sys/kernel/io_uring_disabled").Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return string.Empty;
        }
    }
}
