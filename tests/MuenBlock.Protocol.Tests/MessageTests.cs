using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CsCheck;
using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;
using Xunit;

namespace MuenBlock.Protocol.Tests;

/// <summary>muenblock 2.0, sections 1 and 6.</summary>
public sealed class MessageTests
{
    private const ulong AdaProtocol = 0x5155684453516f3d;

    // docs/wire-format.md, "Recorded session", row by row: kind, tag, length, device offset, buffer offset.
    private static readonly (RequestKind Kind, uint Tag, ulong Length, ulong Device, ulong Buffer)[] s_requests =
    [
        (RequestKind.Reset, 0, 0, 0, 0),
        (RequestKind.MaxDevices, 1, 0, 0, 0),
        (RequestKind.MediaBlocks, 0xa, 0, 0, 0),
        (RequestKind.BlockLength, 0xb, 0, 0, 0),
        (RequestKind.MaxBlocksCount, 0xc, 0, 0, 0),
        (RequestKind.GetSmart, 0x534d4152, 0, 0, 0),
        (RequestKind.Discard, 0x1000, 0x40000, 0, 0),
        (RequestKind.Write, 0x1000, 0x40000, 0, 0),
        (RequestKind.Sync, 0x15, 0, 0, 0),
        (RequestKind.Read, 0x1000, 0x40000, 0, 0x40000),
    ];

    private static readonly ulong[] s_statuses = [0, 1, 0x20000, 512, 65536, 1, 0, 0, 0, 0];

    [Fact]
    public void The_recorded_requests_are_the_ones_of_the_specification()
    {
        Request[] requests = ReadAll<Request>("ada_example_request.bin");
        Assert.Equal(s_requests.Length, requests.Length);
        for (int i = 0; i < requests.Length; i++)
        {
            Assert.Equal(s_requests[i], (requests[i].Kind, requests[i].Tag, requests[i].Length, requests[i].DeviceOffset, requests[i].BufferOffset));
            Assert.Equal(0, requests[i].Device);
        }
    }

    [Fact]
    public void The_recorded_responses_are_the_ones_of_the_specification()
    {
        Response[] responses = ReadAll<Response>("ada_example_response.bin");
        Assert.Equal(s_statuses, responses.Select(response => response.Status));
        Assert.Equal(s_requests.Select(request => (request.Kind, request.Tag)), responses.Select(response => (response.Kind, response.Tag)));
    }

    [Theory]
    [InlineData("ada_example_request.bin", true)]
    [InlineData("ada_example_response.bin", false)]
    public void The_recorded_channels_are_written_again_byte_for_byte(string name, bool requests)
    {
        using TestMemory vector = TestMemory.FromVector(name);
        using var memory = new TestMemory((int)vector.Length);
        if (requests) Rewrite<Request>(vector, memory);
        else Rewrite<Response>(vector, memory);
        Assert.True(vector.Bytes.SequenceEqual(memory.Bytes), $"differs first at byte {vector.Bytes.CommonPrefixLength(memory.Bytes)}");
    }

    [Fact]
    public void Every_field_is_where_the_wire_has_it()
    {
        Assert.Equal(32, Unsafe.SizeOf<Request>());
        Assert.Equal(16, Unsafe.SizeOf<Response>());
        var request = new Request { Kind = (RequestKind)0x0201, Device = 0x0403, Tag = 0x08070605, Length = 0x100f0e0d0c0b0a09, DeviceOffset = 0x1817161514131211, BufferOffset = 0x201f1e1d1c1b1a19 };
        Assert.Equal(Enumerable.Range(1, 32).Select(i => (byte)i), MemoryMarshal.AsBytes(new Span<Request>(ref request)).ToArray());
        var response = new Response { Kind = (RequestKind)0x0201, Device = 0x0403, Tag = 0x08070605, Status = 0x100f0e0d0c0b0a09 };
        Assert.Equal(Enumerable.Range(1, 16).Select(i => (byte)i), MemoryMarshal.AsBytes(new Span<Response>(ref response)).ToArray());
    }

    [Fact]
    public void A_status_and_its_errno_are_each_others()
    {
        foreach (Status status in Enum.GetValues<Status>()) Assert.Equal(status, StatusErrno.FromErrno(StatusErrno.ToErrno((ulong)status)));
        Gen.ULong.Sample(status => Assert.True(status < 11 || StatusErrno.ToErrno(status) == 5));
        Gen.Int[1, 4095].Sample(errno => Assert.True(StatusErrno.FromErrno(errno) != Status.Ok));
    }

    private static T[] ReadAll<T>(string name)
        where T : unmanaged
    {
        using TestMemory memory = TestMemory.FromVector(name);
        ChannelReader<T> reader = memory.Reader<T>(AdaProtocol);
        T[] packets = new T[64];
        Assert.Equal(ReadStatus.NewEpoch, reader.Read(packets, out _));
        Assert.Equal(ReadStatus.Success, reader.Read(packets, out int count));
        return packets[..count];
    }

    private static void Rewrite<T>(TestMemory vector, TestMemory memory)
        where T : unmanaged
    {
        ChannelReader<T> reader = vector.Reader<T>(AdaProtocol);
        _ = reader.Read([], out _);
        T[] packets = new T[64];
        Assert.Equal(ReadStatus.Success, reader.Read(packets, out int count));
        ChannelWriter<T> writer = memory.Writer<T>(AdaProtocol);
        writer.Initialise(1);
        foreach (T packet in packets.AsSpan(0, count)) writer.Next() = packet;
        writer.Publish();
    }
}
