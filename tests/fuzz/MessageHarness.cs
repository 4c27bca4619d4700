using System.Buffers.Binary;
using System.Runtime.InteropServices;
using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;

namespace MuenBlock.Fuzz;

/// <summary>Requests and responses of any bytes go through a channel, and each field is where docs/wire-format.md, "Request and response", has it; statuses and error numbers of any value.</summary>
internal static unsafe class MessageHarness
{
    private const int Elements = 3; // few, so that the ring wraps

    public static void Run(ReadOnlySpan<byte> input)
    {
        RoundTrip<Request>(input, (packet, bytes) => CheckRequest(packet, bytes));
        RoundTrip<Response>(input, (packet, bytes) => CheckResponse(packet, bytes));
    }

    private delegate void Check<T>(T packet, ReadOnlySpan<byte> bytes);

    private static void RoundTrip<T>(ReadOnlySpan<byte> input, Check<T> check)
        where T : unmanaged
    {
        int length = ChannelHeader.Size + (Elements * sizeof(T));
        byte* memory = stackalloc byte[length];
        var writer = new ChannelWriter<T>(memory, (nuint)length, 1);
        var reader = new ChannelReader<T>(memory, (nuint)length, 1);
        writer.Initialise(1);
        Span<T> packets = stackalloc T[1];
        Rules.Require(reader.Read(packets, out _) == ReadStatus.NewEpoch, "a new channel has a new epoch");
        for (; input.Length >= sizeof(T); input = input[sizeof(T)..])
        {
            writer.Next() = MemoryMarshal.Read<T>(input);
            writer.Publish();
            Rules.Require(reader.Read(packets, out int count) == ReadStatus.Success && count == 1, "a packet that was written is there");
            Rules.Require(MemoryMarshal.AsBytes(packets).SequenceEqual(input[..sizeof(T)]), "a packet is read as it was written");
            check(packets[0], input);
        }
    }

    private static void CheckRequest(in Request request, ReadOnlySpan<byte> bytes)
    {
        CheckCommon(request.Kind, request.Device, request.Tag, bytes);
        Rules.Require(request.Length == BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]), "a request's length is at 8");
        Rules.Require(request.DeviceOffset == BinaryPrimitives.ReadUInt64LittleEndian(bytes[16..]), "a request's device offset is at 16");
        Rules.Require(request.BufferOffset == BinaryPrimitives.ReadUInt64LittleEndian(bytes[24..]), "a request's buffer offset is at 24");
    }

    private static void CheckResponse(in Response response, ReadOnlySpan<byte> bytes)
    {
        CheckCommon(response.Kind, response.Device, response.Tag, bytes);
        Rules.Require(response.Status == BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]), "a response's status is at 8");
        const int largestErrno = 4095; // MAX_ERRNO, linux/err.h
        int errno = StatusErrno.ToErrno(response.Status);
        Rules.Require(errno is >= 0 and <= largestErrno && (errno == 0) == (response.Status == 0), $"status {response.Status} is errno {errno}");
        Rules.Require(response.Status > (ulong)Status.IoError || (ulong)StatusErrno.FromErrno(errno) == response.Status, "a status that is known is its errno's");
        int any = (int)response.Status;
        Rules.Require((StatusErrno.FromErrno(any) == Status.Ok) == (any == 0), $"errno {any} is no success");
    }

    private static void CheckCommon(RequestKind kind, ushort device, uint tag, ReadOnlySpan<byte> bytes)
    {
        Rules.Require((ushort)kind == BinaryPrimitives.ReadUInt16LittleEndian(bytes), "a kind is at 0");
        Rules.Require(device == BinaryPrimitives.ReadUInt16LittleEndian(bytes[2..]), "a device is at 2");
        Rules.Require(tag == BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]), "a tag is at 4");
    }
}
