using System.Net;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using static Tmds.Linux.LibC;

namespace MuenBlock.IoUring.Tests;

public sealed unsafe class SubmissionTests
{
    [Fact]
    public void A_batch_is_submitted_in_one_call_and_completes_in_order()
    {
        using Ring ring = TestRing.Create(64);
        TestRing.QueueNops(ring, 100, 64);
        Assert.Equal(64u, ring.Queued);
        Assert.Equal(0ul, ring.Enters);

        Assert.Equal(64u, ring.Enter(64, TestRing.Patience));

        Assert.Equal(1ul, ring.Enters);
        Assert.Equal(0u, ring.Queued);
        for (ulong i = 0; i < 64; i++)
        {
            Assert.True(ring.TryTake(out Completion completion));
            Assert.Equal(100 + i, completion.UserData);
            Assert.Equal(0, completion.Result);
        }

        Assert.False(ring.TryTake(out _));
    }

    [Fact]
    public void The_queue_wraps_around()
    {
        using Ring ring = TestRing.Create(8);
        for (ulong round = 0; round < 100; round++)
        {
            TestRing.QueueNops(ring, round * 5, 5);
            ulong[] expected = [.. Enumerable.Range(0, 5).Select(i => (round * 5) + (ulong)i)];
            Assert.Equal(expected, TestRing.Collect(ring, 5).Select(c => c.UserData));
        }

        Assert.Equal(100ul, ring.Enters);
    }

    [Fact]
    public void A_full_queue_is_submitted_without_being_asked()
    {
        using Ring ring = TestRing.Create(8, 64);
        TestRing.QueueNops(ring, 0, 9);
        Assert.Equal(1ul, ring.Enters);
        Assert.Equal(1u, ring.Queued);
        Assert.Equal([.. Enumerable.Range(0, 9).Select(i => (ulong)i)], TestRing.Collect(ring, 9).Select(c => c.UserData));
    }

    [Fact]
    public void An_entry_is_handed_out_zeroed()
    {
        using Ring ring = Ring.Create(new RingOptions { Entries = 128, LargeEntries = true });
        for (int i = 0; i < 400; i++)
        {
            ref SubmissionEntry entry = ref ring.NextEntry();
            Span<byte> bytes = new(Unsafe.AsPointer(ref entry), 128);
            Assert.False(bytes.ContainsAnyExcept((byte)0));
            bytes.Fill(0xff);

            // What a NOP looks at must be good; the rest of the first half, and the second half, stay as they are.
            entry.Operation = Operation.Nop;
            entry.Flags = default;
            entry.Priority = 0;
            entry.OperationFlags = 0;
            entry.BufferIndex = 0;
            Assert.Single(TestRing.Collect(ring, 1));
        }
    }

    [Fact]
    public void A_refused_entry_fails_alone()
    {
        using Ring ring = TestRing.Create(8);
        TestRing.QueueNops(ring, 0, 1);
        ref SubmissionEntry refused = ref ring.NextEntry();
        refused.Operation = (Operation)255;
        refused.UserData = 1;
        TestRing.QueueNops(ring, 2, 2);

        Assert.Equal(4u, ring.Enter(4, TestRing.Patience));

        Assert.Equal([0, -EINVAL, 0, 0], TestRing.Collect(ring, 4).OrderBy(c => c.UserData).Select(c => c.Result));
    }

    [Fact]
    public void Success_can_be_silent()
    {
        using Ring ring = TestRing.Create(8);
        TestRing.QueueNops(ring, 1, 1);
        ref SubmissionEntry silent = ref ring.NextEntry();
        silent.PrepareNop();
        silent.UserData = 2;
        silent.Flags = EntryFlags.SkipSuccess;
        TestRing.QueueNops(ring, 3, 1);
        Assert.Equal(3u, ring.Enter());
        Assert.Equal([1ul, 3ul], TestRing.Collect(ring, 2).Select(c => c.UserData));
        Assert.False(ring.HasNews);
    }

    [Fact]
    public void A_linked_entry_is_cancelled_when_the_one_before_fails()
    {
        using Ring ring = TestRing.Create(8);
        ref SubmissionEntry first = ref ring.NextEntry();
        first.PrepareSync(-1, dataOnly: false);
        first.Flags = EntryFlags.Link;
        first.UserData = 1;
        TestRing.QueueNops(ring, 2, 1);
        Assert.Equal([-EBADF, -ECANCELED], TestRing.Collect(ring, 2).OrderBy(c => c.UserData).Select(c => c.Result));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_command_reaches_its_file(bool large)
    {
        // SOCKET_URING_OP_SIOCINQ (linux/io_uring.h): how many bytes wait in a socket. Since 6.7.
        const uint WaitingBytes = 0;
        Assert.SkipUnless(TestRing.KernelIs(6, 7), "a socket's commands need Linux 6.7");
        using Socket socket = new(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        socket.SendTo(new byte[77], socket.LocalEndPoint!);
        using Ring ring = Ring.Create(new RingOptions { Entries = 4, LargeEntries = large });
        ring.NextEntry().PrepareCommand((int)socket.SafeHandle.DangerousGetHandle(), WaitingBytes);
        Assert.Equal(77, TestRing.Run(ring));
    }

    [Fact]
    public void A_commands_payload_lies_in_its_entry()
    {
        using Ring ring = Ring.Create(new RingOptions { Entries = 4, LargeEntries = true });
        ref SubmissionEntry entry = ref ring.NextEntry();
        byte* start = (byte*)Unsafe.AsPointer(ref entry);
        ref Payload80 payload = ref entry.Command<Payload80>();
        Assert.Equal(48, (byte*)Unsafe.AsPointer(ref payload) - start);
        _ = ref ring.NextEntry();
        ref SubmissionEntry third = ref ring.NextEntry();
        Assert.Equal(256, (byte*)Unsafe.AsPointer(ref third) - start);
        Assert.Throws<NotSupportedException>(() => default(SubmissionEntry).Command<Payload81>());
    }

    [StructLayout(LayoutKind.Sequential, Size = 80)]
    private struct Payload80;

    [StructLayout(LayoutKind.Sequential, Size = 81)]
    private struct Payload81;
}
