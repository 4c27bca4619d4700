using static Tmds.Linux.LibC;

namespace MuenBlock.IoUring.Tests;

/// <summary>Rings that take some operations only.</summary>
public sealed unsafe class RestrictionTests
{
    private const int OpenAt = 18; // IORING_OP_OPENAT, linux/io_uring.h
    private const RegisterOperation Personality = (RegisterOperation)9; // IORING_REGISTER_PERSONALITY

    public static TheoryData<bool, bool, double> Kinds => new()
    {
        { true, false, 0 },
        { false, false, 0 },
        { true, true, 0 },
        { true, false, 1 },
        { true, false, 10_000 },
    };

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_ring_takes_the_operations_that_it_is_restricted_to_and_no_others(bool single, bool large, double idleMilliseconds)
    {
        using Ring ring = Ring.Create(Options(single, large, idleMilliseconds));
        ring.RegisterSelf();
        Assert.Equal(single, ring.IsSelfRegistered);
        for (int round = 0; round < 3; round++)
        {
            TestRing.QueueNops(ring, 0, 1);
            Assert.Equal(0, TestRing.Run(ring));
            Assert.Equal(-EACCES, Open(ring));
        }
    }

    [Fact]
    public void A_refused_entry_does_not_hold_up_those_behind_it()
    {
        using Ring ring = Ring.Create(Options());
        TestRing.QueueNops(ring, 1, 1);
        ring.NextEntry().Operation = (Operation)OpenAt;
        TestRing.QueueNops(ring, 2, 1);
        Assert.Equal([(0, -EACCES), (1, 0), (2, 0)], TestRing.Collect(ring, 3).Select(c => ((int)c.UserData, c.Result)).Order());
    }

    [Fact]
    public void What_this_library_registers_can_be_registered_and_nothing_else()
    {
        using Ring ring = Ring.Create(Options());
        byte[] memory = GC.AllocateArray<byte>(4096, pinned: true);
        fixed (byte* pointer = memory)
        {
            IoVector vector = new() { Base = pointer, Length = (nuint)memory.Length };
            Assert.Equal(0, ring.RegisterBuffers([vector]));
            Assert.Equal(0, ring.UpdateBuffer(0, vector));
            Assert.Equal(0, ring.UnregisterBuffers());
        }

        using TestFile file = new("/dev/shm");
        Assert.Equal(0, ring.RegisterFiles([-1]));
        Assert.Equal(0, ring.UpdateFile(0, file.Descriptor));
        Assert.Equal(0, ring.UnregisterFiles());
        using (ProvidedBuffers? buffers = ProvidedBuffers.TryRegister(ring, 1, 4, 64, out int error)) Assert.True(buffers is not null, $"errno {error}");
        Assert.Equal(-EACCES, Kernel.Register(ring.FileDescriptor, Personality, null, 0));
    }

    [Fact]
    public void What_is_allowed_stays_so()
    {
        using Ring ring = Ring.Create(Options());
        Restriction more = new() { Kind = RestrictionKind.Operation, Allowed = OpenAt };
        Assert.True(Kernel.Register(ring.FileDescriptor, RegisterOperation.Restrictions, &more, 1) < 0);
        Assert.True(Kernel.Register(ring.FileDescriptor, RegisterOperation.Enable, null, 0) < 0);
        Assert.Equal(-EACCES, Open(ring));
    }

    [Fact]
    public void An_operation_that_the_kernel_does_not_know_is_passed_over()
    {
        using Ring ring = Ring.Create(Options() with { Operations = [Operation.Nop, (Operation)254] });
        TestRing.QueueNops(ring, 0, 1);
        Assert.Equal(0, TestRing.Run(ring));
        Assert.Equal(-EACCES, Open(ring));
    }

    [Fact]
    public void A_ring_without_restrictions_opens_files()
    {
        using Ring ring = TestRing.Create(8);
        int descriptor = Open(ring);
        Assert.True(descriptor >= 0);
        _ = close(descriptor);
    }

    private static RingOptions Options(bool single = true, bool large = false, double idleMilliseconds = 0) => new()
    {
        Entries = 8,
        SingleIssuer = single,
        LargeEntries = large,
        SubmissionThreadIdle = idleMilliseconds > 0 ? TimeSpan.FromMilliseconds(idleMilliseconds) : null,
        Operations = [Operation.Nop],
    };

    private static int Open(Ring ring)
    {
        fixed (byte* path = "/\0"u8)
        {
            ref SubmissionEntry entry = ref ring.NextEntry();
            entry.Operation = (Operation)OpenAt;
            entry.File = AT_FDCWD;
            entry.Address = (ulong)path;
            return TestRing.Run(ring);
        }
    }
}
