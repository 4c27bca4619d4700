using System.Runtime.InteropServices;
using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;

namespace MuenBlock.Simulation.Tests;

/// <summary>The three regions of a connection. Whoever dies, they stay.</summary>
internal sealed unsafe class SharedMemory : IDisposable
{
    private const int Header = 64;

    private readonly byte* _request;
    private readonly byte* _response;

    public SharedMemory(int elements, int bufferLength)
    {
        RequestLength = Header + (elements * 32);
        ResponseLength = Header + (elements * 16);
        _request = (byte*)NativeMemory.AllocZeroed((nuint)RequestLength);
        _response = (byte*)NativeMemory.AllocZeroed((nuint)ResponseLength);
        Buffer = new byte[bufferLength];
    }

    public int RequestLength { get; }

    public int ResponseLength { get; }

    public byte[] Buffer { get; }

    public Span<byte> Requests => new(_request, RequestLength);

    public Span<byte> Responses => new(_response, ResponseLength);

    public ChannelWriter<Request> RequestWriter() => new(_request, (nuint)RequestLength, 1);

    public ChannelReader<Request> RequestReader() => new(_request, (nuint)RequestLength, 1);

    public ChannelWriter<Response> ResponseWriter() => new(_response, (nuint)ResponseLength, 2);

    public ChannelReader<Response> ResponseReader() => new(_response, (nuint)ResponseLength, 2);

    public void Dispose()
    {
        NativeMemory.Free(_request);
        NativeMemory.Free(_response);
    }
}
