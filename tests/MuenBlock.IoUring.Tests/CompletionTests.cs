namespace MuenBlock.IoUring.Tests;

public sealed class CompletionTests
{
    [Fact]
    public void Overflow_loses_nothing_and_keeps_the_order()
    {
        const int Count = 1000;
        using Ring ring = TestRing.Create(4, 4);
        TestRing.QueueNops(ring, 0, Count);
        _ = ring.Enter();
        Assert.True(ring.HasDeferredWork);
        Assert.True(ring.HasNews);

        List<ulong> taken = [];
        while (ring.HasNews)
        {
            while (ring.TryTake(out Completion completion)) taken.Add(completion.UserData);

            // The ring is empty, but not the kernel's list behind it.
            Assert.True(taken.Count == Count || ring.HasNews);
            _ = ring.Enter();
        }

        Assert.Equal([.. Enumerable.Range(0, Count).Select(i => (ulong)i)], taken);
        Assert.False(ring.HasDeferredWork);
    }

    [Fact]
    public void News_are_seen_until_they_are_taken()
    {
        using Ring ring = TestRing.Create(8);
        Assert.False(ring.HasNews);
        TestRing.QueueNops(ring, 0, 2);
        Assert.False(ring.HasNews);
        _ = ring.Enter(2, TestRing.Patience);
        Assert.True(ring.HasNews);
        Assert.True(ring.TryTake(out _));
        Assert.True(ring.HasNews);
        Assert.True(ring.TryTake(out _));
        Assert.False(ring.HasNews);
    }

    [Fact]
    public void Entering_waits_for_completions_that_were_not_taken_yet()
    {
        using Ring ring = TestRing.Create(8);
        TestRing.QueueNops(ring, 0, 1);
        _ = ring.Enter(1, TestRing.Patience);
        Assert.True(ring.TryTake(out _));

        // Taken but not released: it must not count, or this would return at once with nothing to take.
        ring.NextEntry().Flags = EntryFlags.Async;
        _ = ring.Enter(1, TestRing.Patience);
        Assert.True(ring.TryTake(out _));
    }

    [Fact]
    public void Waiting_can_be_for_more_than_one()
    {
        using Ring ring = TestRing.Create(16);
        for (int i = 0; i < 16; i++) ring.NextEntry().Flags = EntryFlags.Async;
        _ = ring.Enter(16, TestRing.Patience);
        for (int i = 0; i < 16; i++) Assert.True(ring.TryTake(out _));
    }

    [Fact]
    public void A_buffer_id_is_in_the_upper_half_of_the_flags()
    {
        Completion completion = new(1, 2, (CompletionFlags)0xfffe_0001);
        Assert.Equal(0xfffe, completion.BufferId);
        Assert.False(completion.More);
        Assert.True(new Completion(1, 2, CompletionFlags.More).More);
    }
}
