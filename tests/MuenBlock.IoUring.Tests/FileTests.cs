using static Tmds.Linux.LibC;

namespace MuenBlock.IoUring.Tests;

public sealed unsafe class FileTests
{
    public static TheoryData<string> Folders => [Path.GetTempPath(), "/dev/shm"];

    [Theory]
    [MemberData(nameof(Folders))]
    public void What_is_written_is_read(string folder)
    {
        using TestFile file = new(folder);
        using Ring ring = TestRing.Create(8);
        Random.Shared.NextBytes(file.Bytes);
        byte[] written = file.Bytes[..8192].ToArray();

        ring.NextEntry().PrepareWrite(file.Descriptor, file.Memory, 8192, 4096);
        Assert.Equal(8192, TestRing.Run(ring));
        Assert.Equal(written, file.Content[4096..12288]);

        file.Bytes.Clear();
        ring.NextEntry().PrepareRead(file.Descriptor, file.Memory + 100, 8192, 4096);
        Assert.Equal(8192, TestRing.Run(ring));
        Assert.Equal(written, file.Bytes.Slice(100, 8192));
    }

    [Theory]
    [MemberData(nameof(Folders))]
    public void What_is_written_from_a_registered_buffer_to_a_registered_file_is_read(string folder)
    {
        using TestFile file = new(folder);
        using Ring ring = TestRing.Create(8);
        Random.Shared.NextBytes(file.Bytes);
        IoVector[] buffers = [new() { Base = file.Memory, Length = 4096 }, new() { Base = file.Memory + 4096, Length = 8192 }];
        Assert.Equal(0, ring.RegisterBuffers(buffers));
        Assert.Equal(0, ring.RegisterFiles([-1, file.Descriptor]));
        byte[] written = file.Bytes.Slice(8192, 4096).ToArray();

        ref SubmissionEntry write = ref ring.NextEntry();
        write.PrepareWriteFixed(1, file.Memory + 8192, 4096, 0, 1);
        write.Flags = EntryFlags.FixedFile;
        Assert.Equal(4096, TestRing.Run(ring));
        Assert.Equal(written, file.Content[..4096]);

        ref SubmissionEntry read = ref ring.NextEntry();
        read.PrepareReadFixed(1, file.Memory, 4096, 0, 0);
        read.Flags = EntryFlags.FixedFile;
        Assert.Equal(4096, TestRing.Run(ring));
        Assert.Equal(written, file.Bytes[..4096]);
    }

    [Fact]
    public void A_fixed_read_cannot_leave_its_buffer()
    {
        using TestFile file = new("/dev/shm");
        using Ring ring = TestRing.Create(8);
        IoVector[] buffers = [new() { Base = file.Memory, Length = 4096 }];
        Assert.Equal(0, ring.RegisterBuffers(buffers));
        ring.NextEntry().PrepareReadFixed(file.Descriptor, file.Memory + 4095, 2, 0, 0);
        Assert.Equal(-EFAULT, TestRing.Run(ring));
    }

    [Fact]
    public void Registrations_are_made_once_and_given_back_once()
    {
        using TestFile file = new("/dev/shm");
        using Ring ring = TestRing.Create(8);
        IoVector[] buffers = [new() { Base = file.Memory, Length = 4096 }];
        Assert.Equal(0, ring.RegisterBuffers(buffers));
        Assert.Equal(-EBUSY, ring.RegisterBuffers(buffers));
        Assert.Equal(0, ring.UnregisterBuffers());
        Assert.Equal(-ENXIO, ring.UnregisterBuffers());
        Assert.Equal(0, ring.RegisterFiles([file.Descriptor]));
        Assert.Equal(-EBUSY, ring.RegisterFiles([file.Descriptor]));
        Assert.Equal(0, ring.UnregisterFiles());
        Assert.Equal(-ENXIO, ring.UnregisterFiles());
    }

    [Fact]
    public void A_registered_buffer_can_be_replaced()
    {
        using TestFile file = new("/dev/shm");
        using Ring ring = TestRing.Create(8);
        Assert.Equal(-ENXIO, ring.UpdateBuffer(0, new() { Base = file.Memory, Length = 4096 }));
        Assert.Equal(0, ring.RegisterBuffers([new() { Base = file.Memory, Length = 4096 }]));
        Assert.Equal(0, ring.UpdateBuffer(0, new() { Base = file.Memory + 4096, Length = 4096 }));
        ring.NextEntry().PrepareReadFixed(file.Descriptor, file.Memory, 4096, 0, 0);
        Assert.Equal(-EFAULT, TestRing.Run(ring));
        ring.NextEntry().PrepareReadFixed(file.Descriptor, file.Memory + 4096, 4096, 0, 0);
        Assert.Equal(4096, TestRing.Run(ring));
        Assert.Equal(-EFAULT, ring.UpdateBuffer(0, new() { Base = (void*)4096, Length = 4096 }));
        ring.NextEntry().PrepareReadFixed(file.Descriptor, file.Memory + 4096, 4096, 0, 0);
        Assert.Equal(4096, TestRing.Run(ring));
        Assert.Equal(0, ring.UpdateBuffer(0, default));
        ring.NextEntry().PrepareReadFixed(file.Descriptor, file.Memory + 4096, 4096, 0, 0);
        Assert.Equal(-EFAULT, TestRing.Run(ring));
        Assert.Equal(0, ring.UpdateBuffer(0, new() { Base = file.Memory, Length = 4096 }));
        ring.NextEntry().PrepareReadFixed(file.Descriptor, file.Memory, 4096, 0, 0);
        Assert.Equal(4096, TestRing.Run(ring));
    }

    [Fact]
    public void Memory_that_is_not_there_cannot_be_registered()
    {
        using Ring ring = TestRing.Create(8);
        IoVector[] buffers = [new() { Base = (void*)4096, Length = 4096 }];
        Assert.Equal(-EFAULT, ring.RegisterBuffers(buffers));
    }

    [Fact]
    public void A_slot_of_the_registered_files_can_be_filled_and_cleared()
    {
        using TestFile file = new("/dev/shm");
        using Ring ring = TestRing.Create(8);
        Assert.Equal(-ENXIO, ring.UpdateFile(0, file.Descriptor));
        Assert.Equal(0, ring.RegisterFiles([-1, -1]));
        Assert.Equal(-EBADF, ReadSlot());
        Assert.Equal(0, ring.UpdateFile(1, file.Descriptor));
        Assert.Equal(512, ReadSlot());
        Assert.Equal(0, ring.UpdateFile(1, -1));
        Assert.Equal(-EBADF, ReadSlot());
        Assert.Equal(-EINVAL, ring.UpdateFile(2, file.Descriptor));
        Assert.Equal(-EBADF, ring.UpdateFile(1, 1_000_000));

        int ReadSlot()
        {
            ref SubmissionEntry read = ref ring.NextEntry();
            read.PrepareRead(1, file.Memory, 512, 0);
            read.Flags = EntryFlags.FixedFile;
            return TestRing.Run(ring);
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_file_is_synced(bool dataOnly)
    {
        using TestFile file = new(Path.GetTempPath());
        using Ring ring = TestRing.Create(8);
        ring.NextEntry().PrepareSync(file.Descriptor, dataOnly);
        Assert.Equal(0, TestRing.Run(ring));
        ring.NextEntry().PrepareSync(-1, dataOnly);
        Assert.Equal(-EBADF, TestRing.Run(ring));
    }

    [Theory]
    [MemberData(nameof(Folders))]
    public void A_hole_is_punched(string folder)
    {
        using TestFile file = new(folder);
        using Ring ring = TestRing.Create(8);
        file.Bytes.Fill(7);
        ring.NextEntry().PrepareWrite(file.Descriptor, file.Memory, TestFile.Size, 0);
        Assert.Equal(TestFile.Size, TestRing.Run(ring));

        ring.NextEntry().PrepareAllocate(file.Descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192);
        Assert.Equal(0, TestRing.Run(ring));

        byte[] content = file.Content;
        Assert.Equal(TestFile.Size, content.Length);
        Assert.DoesNotContain(content[..4096], b => b != 7);
        Assert.DoesNotContain(content[4096..12288], b => b != 0);
        Assert.DoesNotContain(content[12288..], b => b != 7);
    }
}
