using static Tmds.Linux.LibC;

namespace MuenBlock.IoUring.Tests;

public sealed unsafe class ProvidedBuffersTests
{
    private const uint Size = 256;

    [Fact]
    public void The_kernel_picks_each_buffer_until_none_is_left_and_again_when_it_was_returned()
    {
        using TestFile file = new("/dev/shm");
        using Ring ring = TestRing.Create(8);
        Random.Shared.NextBytes(file.Bytes);
        ring.NextEntry().PrepareWrite(file.Descriptor, file.Memory, TestFile.Size, 0);
        Assert.Equal(TestFile.Size, TestRing.Run(ring));

        using ProvidedBuffers? buffers = ProvidedBuffers.TryRegister(ring, 5, 3, Size, out int error);
        Assert.Equal(0, error);
        Assert.NotNull(buffers);
        Assert.Equal(4, buffers.Count);
        List<ushort> picked = [];
        for (uint i = 0; i < 4; i++)
        {
            Completion read = Read(ring, file, 5, i * Size);
            Assert.Equal((int)Size, read.Result);
            Assert.Equal(file.Bytes.Slice((int)(i * Size), (int)Size), new Span<byte>(buffers[read.BufferId], (int)Size));
            picked.Add(read.BufferId);
        }

        Assert.Equal<ushort>([0, 1, 2, 3], [.. picked.Order()]);
        Assert.Equal(-ENOBUFS, Read(ring, file, 5, 0).Result);
        foreach (ushort id in (ushort[])[2, 0])
        {
            buffers.Return(id);
            Assert.Equal(id, Read(ring, file, 5, 0).BufferId);
        }

        Assert.Equal(-ENOBUFS, Read(ring, file, 5, 0).Result);
    }

    // More returns than the ring's tail counts.
    [Fact]
    public void Buffers_go_round_any_number_of_times()
    {
        using TestFile file = new("/dev/shm");
        using Ring ring = TestRing.Create(8);
        using ProvidedBuffers buffers = ProvidedBuffers.TryRegister(ring, 0, 1, Size, out _)!;
        for (int i = 0; i < 70_000; i++)
        {
            ref SubmissionEntry entry = ref ring.NextEntry();
            entry.PrepareRead(file.Descriptor, null, Size, 0);
            entry.Flags = EntryFlags.BufferSelect;
            entry.BufferGroup = 0;
            _ = ring.Enter(1);
            Assert.True(ring.TryTake(out Completion completion));
            Assert.Equal((int)Size, completion.Result);
            buffers.Return(completion.BufferId);
        }
    }

    [Fact]
    public void Groups_are_apart_and_a_group_is_there_once()
    {
        using Ring ring = TestRing.Create(8);
        using ProvidedBuffers? first = ProvidedBuffers.TryRegister(ring, 1, 2, Size, out _);
        using ProvidedBuffers? second = ProvidedBuffers.TryRegister(ring, 2, 2, Size, out _);
        Assert.NotNull(first);
        Assert.NotNull(second);
        Assert.Null(ProvidedBuffers.TryRegister(ring, 2, 2, Size, out int error));
        Assert.Equal(-EEXIST, error);
    }

    // What the kernel would write to is freed then.
    [Fact]
    public void Nothing_is_picked_after_the_group_has_ended()
    {
        using TestFile file = new("/dev/shm");
        using Ring ring = TestRing.Create(8);
        ProvidedBuffers.TryRegister(ring, 0, 2, Size, out _)!.Dispose();
        Assert.Equal(-ENOBUFS, Read(ring, file, 0, 0).Result);
    }

    private static Completion Read(Ring ring, TestFile file, ushort group, uint offset)
    {
        ref SubmissionEntry entry = ref ring.NextEntry();
        entry.PrepareRead(file.Descriptor, null, Size, offset);
        entry.Flags = EntryFlags.BufferSelect;
        entry.BufferGroup = group;
        return Assert.Single(TestRing.Collect(ring, 1));
    }
}
