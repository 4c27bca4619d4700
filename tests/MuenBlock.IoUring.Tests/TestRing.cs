namespace MuenBlock.IoUring.Tests;

/// <summary>What the tests do again and again with a ring.</summary>
internal static class TestRing
{
    /// <summary>Long enough that only a fault reaches it, and short of a hang.</summary>
    public const long Patience = 20_000_000_000;

    public static Ring Create(uint entries, uint completionEntries = 0) =>
        Ring.Create(new RingOptions { Entries = entries, CompletionEntries = completionEntries });

    /// <summary>Whether the kernel is of some version or newer.</summary>
    public static bool KernelIs(int major, int minor) => Environment.OSVersion.Version >= new Version(major, minor);

    /// <summary>Queues NOPs with user data from a number on.</summary>
    public static void QueueNops(Ring ring, ulong first, int count)
    {
        for (int i = 0; i < count; i++)
        {
            ref SubmissionEntry entry = ref ring.NextEntry();
            entry.PrepareNop();
            entry.UserData = first + (ulong)i;
        }
    }

    /// <summary>Submits, waits for so many completions and takes them.</summary>
    public static List<Completion> Collect(Ring ring, int count)
    {
        List<Completion> completions = [];
        long deadline = Environment.TickCount64 + (Patience / 1_000_000);
        while (completions.Count < count)
        {
            Assert.True(Environment.TickCount64 < deadline, $"{completions.Count} of {count} completions came");
            _ = ring.Enter((uint)Math.Min(count - completions.Count, (int)ring.CompletionEntries), Patience);
            while (completions.Count < count && ring.TryTake(out Completion completion)) completions.Add(completion);
        }

        ring.Release();
        return completions;
    }

    /// <summary>Submits one entry that was queued and returns its result.</summary>
    public static int Run(Ring ring)
    {
        Completion completion = Assert.Single(Collect(ring, 1));
        return completion.Result;
    }
}
