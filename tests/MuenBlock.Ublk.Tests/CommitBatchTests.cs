using CsCheck;
using MuenBlock.Ublk.Queues;

namespace MuenBlock.Ublk.Tests;

/// <summary>Results that go to the driver together, and what becomes of those that it takes, refuses, or does not look at.</summary>
public sealed unsafe class CommitBatchTests
{
    private const int Size = 16;

    [Fact]
    public void What_gathers_while_the_driver_has_an_array_is_sent_with_the_next()
    {
        using var batch = new CommitBatch(4);
        Assert.True(batch.IsEmpty);
        batch.Add(3, 4096, 0x1000);
        batch.Add(1, -5, 0x2000);
        Assert.True(batch.IsDue);
        BatchElement* sent = batch.Send(out int count);
        Assert.Equal(2, count);
        Assert.Equal((3, 4096, 0x1000ul), Fields(sent[0]));
        Assert.Equal((1, -5, 0x2000ul), Fields(sent[1]));
        Assert.True(batch.IsUnderWay);

        batch.Add(2, 0, 0x3000);
        Assert.False(batch.IsDue);
        Assert.Equal((3, 4096, 0x1000ul), Fields(sent[0]));
        Assert.Equal((2, false), batch.Complete(2 * Size, out _));
        Assert.True(batch.IsDue);
        Assert.Equal((2, 0, 0x3000ul), Fields(batch.Send(out count)[0]));
        Assert.Equal(1, count);
        Assert.Equal((1, false), batch.Complete(Size, out _));
        Assert.True(batch.IsEmpty);
    }

    [Fact]
    public void What_is_behind_a_refused_element_is_sent_again_and_what_gathered_after_it()
    {
        using var batch = new CommitBatch(8);
        for (ushort tag = 0; tag < 4; tag++) batch.Add(tag, 512, 1);
        _ = batch.Send(out _);
        batch.Add(7, 512, 1);
        Assert.Equal((1, false), batch.Complete(Size, out _));
        Assert.Equal(1, batch.Send(out int count)[0].Header.Tag);
        Assert.Equal(3, count);
        Assert.Equal((0, true), batch.Complete(-16, out BatchElement refused));
        Assert.Equal(1, refused.Header.Tag);
        Assert.Equal(2, batch.Send(out count)[0].Header.Tag);
        Assert.Equal(2, count);
        Assert.Equal((2, false), batch.Complete(2 * Size, out _));
        Assert.Equal(7, batch.Send(out count)[0].Header.Tag);
        Assert.Equal(1, count);
    }

    // Against a list: whatever the driver takes and refuses, every result is taken or refused once, in its order.
    [Fact]
    public void Every_result_is_taken_or_refused_once_and_in_order() =>
        Gen.Int[-1, 9].Array[1, 60].Sample(steps =>
        {
            const int depth = 8;
            using var batch = new CommitBatch(depth);
            var waiting = new Queue<ushort>();
            ushort next = 0;
            foreach (int step in steps)
            {
                if (batch.IsUnderWay)
                {
                    int result = step < 0 ? -16 : step * Size;
                    (int taken, bool isRefused) = batch.Complete(result, out BatchElement refused);
                    if (isRefused && waiting.Peek() != refused.Header.Tag) return false;
                    for (int i = 0; i < taken + (isRefused ? 1 : 0); i++) waiting.Dequeue();
                }

                for (int i = 0; i < 2 && waiting.Count < depth; i++)
                {
                    batch.Add(next, 0, 1);
                    waiting.Enqueue(next++);
                }

                if (!batch.IsDue) continue;
                BatchElement* sent = batch.Send(out int count);
                ushort[] expected = [.. waiting.Take(count)];
                for (int i = 0; i < count; i++)
                {
                    if (sent[i].Header.Tag != expected[i]) return false;
                }
            }

            return true;
        });

    private static (int Tag, int Result, ulong Address) Fields(in BatchElement element) => (element.Header.Tag, element.Header.Result, element.Address);
}
