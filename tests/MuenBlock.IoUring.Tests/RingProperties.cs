using CsCheck;

namespace MuenBlock.IoUring.Tests;

public sealed class RingProperties
{
    private enum StepKind
    {
        Nop,
        AsyncNop,
        Enter,
        Wait,
        Take,
        Release,
    }

    private readonly record struct Step(StepKind Kind, int Count);

    private sealed record Script(uint Entries, uint CompletionEntries, int Rung, bool Registered, Step[] Steps);

    private static readonly Gen<Step> s_step = Gen.Select(Gen.Enum<StepKind>(), Gen.Int[1, 20], (kind, count) => new Step(kind, count));

    private static readonly Gen<Script> s_script =
        from size in Gen.Int[0, 4]
        from larger in Gen.Int[0, 2]
        from rung in Gen.Int[0, 4]
        from registered in Gen.Bool
        from steps in s_step.Array[0, 60]
        select new Script(1u << size, 1u << (size + larger), rung, registered, steps);

    [Fact]
    public void Whatever_the_order_of_calls_every_entry_completes_exactly_once() => s_script.Sample(Run, iter: 2000);

    private static void Run(Script script)
    {
        RingOptions options = new() { Entries = script.Entries, CompletionEntries = script.CompletionEntries };
        using Ring ring = Ring.Create(options, [RingMemory.Ladder(options)[script.Rung]]);
        if (script.Registered) ring.RegisterSelf();
        ulong next = 0;
        HashSet<ulong> outstanding = [];
        foreach (Step step in script.Steps)
        {
            switch (step.Kind)
            {
                case StepKind.Nop:
                case StepKind.AsyncNop:
                    for (int i = 0; i < step.Count; i++)
                    {
                        ref SubmissionEntry entry = ref ring.NextEntry();
                        entry.PrepareNop();
                        entry.UserData = next;
                        entry.Flags = step.Kind == StepKind.AsyncNop ? EntryFlags.Async : default;
                        outstanding.Add(next++);
                    }

                    break;
                case StepKind.Enter:
                    _ = ring.Enter();
                    break;
                case StepKind.Wait:
                    _ = ring.Enter((uint)Math.Min(step.Count, Math.Min(outstanding.Count, (int)ring.CompletionEntries)), TestRing.Patience);
                    break;
                case StepKind.Take:
                    for (int i = 0; i < step.Count && ring.TryTake(out Completion completion); i++) Taken(completion);
                    break;
                case StepKind.Release:
                    ring.Release();
                    break;
            }
        }

        while (outstanding.Count > 0)
        {
            _ = ring.Enter(1, TestRing.Patience);
            Assert.True(ring.TryTake(out Completion first), $"{outstanding.Count} never completed");
            Taken(first);
            while (ring.TryTake(out Completion completion)) Taken(completion);
        }

        // A kernel worker may announce work that is already done, once and late.
        SpinWait.SpinUntil(() => ring.Enter() == 0 && !ring.HasNews, TimeSpan.FromSeconds(20));
        Assert.False(ring.HasNews);
        Assert.Equal(0u, ring.Queued);

        void Taken(in Completion completion)
        {
            Assert.True(outstanding.Remove(completion.UserData), $"{completion.UserData} completed twice");
            Assert.Equal(0, completion.Result);
        }
    }
}
