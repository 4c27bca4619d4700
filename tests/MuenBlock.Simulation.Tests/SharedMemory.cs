using System.Runtime.InteropServices;
using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;
using Xunit.Sdk;

namespace MuenBlock.Simulation.Tests;

/// <summary>The three regions of a connection. Whoever dies, they stay. Around each channel is memory that nobody may write.</summary>
internal sealed unsafe class SharedMemory : IDisposable
{
    public const int Header = 64;

    private const int Guard = 64;
    private const byte Untouched = 0xa5;

    private readonly byte* _request;
    private readonly byte* _response;
    private readonly int _requestLength;
    private readonly int _responseLength;

    public SharedMemory(int elements, int bufferLength)
    {
        Elements = elements;
        _requestLength = Header + (elements * sizeof(Request));
        _responseLength = Header + (elements * sizeof(Response));
        _request = Allocate(_requestLength);
        _response = Allocate(_responseLength);
        Buffer = new byte[bufferLength];
    }

    public int Elements { get; }

    public byte[] Buffer { get; }

    public Span<byte> Requests => new(_request, _requestLength);

    public Span<byte> Responses => new(_response, _responseLength);

    public ChannelWriter<Request> RequestWriter() => new(_request, (nuint)_requestLength, 1);

    public ChannelReader<Request> RequestReader() => new(_request, (nuint)_requestLength, 1);

    public ChannelWriter<Response> ResponseWriter() => new(_response, (nuint)_responseLength, 2);

    public ChannelReader<Response> ResponseReader() => new(_response, (nuint)_responseLength, 2);

    /// <summary>Nothing was written outside of the channels.</summary>
    public void Check()
    {
        CheckAround(_request, _requestLength);
        CheckAround(_response, _responseLength);
    }

    public void Dispose()
    {
        NativeMemory.Free(_request - Guard);
        NativeMemory.Free(_response - Guard);
    }

    private static byte* Allocate(int length)
    {
        byte* memory = (byte*)NativeMemory.Alloc((nuint)(length + (2 * Guard)));
        new Span<byte>(memory, length + (2 * Guard)).Fill(Untouched);
        new Span<byte>(memory + Guard, length).Clear();
        return memory + Guard;
    }

    private static void CheckAround(byte* channel, int length)
    {
        if (new ReadOnlySpan<byte>(channel - Guard, Guard).ContainsAnyExcept(Untouched) || new ReadOnlySpan<byte>(channel + length, Guard).ContainsAnyExcept(Untouched))
            throw new XunitException("I3: memory outside of a channel was written");
    }
}
