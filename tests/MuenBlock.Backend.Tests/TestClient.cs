using MuenBlock.Protocol;
using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Regions;
using Xunit;

namespace MuenBlock.Backend.Tests;

/// <summary>A client that polls: it asks one question at a time, or many at once, and waits for the answers with a time-out.</summary>
internal sealed unsafe class TestClient : IDisposable
{
    private const int TimeoutMilliseconds = 20_000;

    private readonly Region _request;
    private readonly Region _response;
    private readonly Region _buffer;
    private readonly ChannelWriter<Request> _writer;
    private readonly ChannelReader<Response> _reader;
    private readonly Response[] _batch = new Response[256];
    private uint _tag;

    public TestClient(string directory, ConnectionString name)
    {
        _request = Region.Open(directory, name.Request, writable: true, 4096);
        _response = Region.Open(directory, name.Response, writable: false, 4096);
        _buffer = Region.Open(directory, name.Buffer, writable: true, 4096);
        _writer = new ChannelWriter<Request>(_request.Memory, _request.Length, name.RequestProtocol);
        _reader = new ChannelReader<Response>(_response.Memory, _response.Length, name.ResponseProtocol);
    }

    public Span<byte> Buffer => new(_buffer.Memory, (int)_buffer.Length);

    public ChannelWriter<Request> Writer => _writer;

    /// <summary>Answers that the server has published in its epoch, read or not.</summary>
    public ulong Published => _reader.Written;

    /// <summary>Stores a wake hint (docs/wire-format.md, "Our extensions"), without sleeping.</summary>
    public void AnnounceSleep(ulong number) => Volatile.Write(ref *(ulong*)(_request.Memory + 40), number);

    /// <summary>Begins a session as docs/wire-format.md says, "Life of a connection": initialise, drain, Reset.</summary>
    public void Connect()
    {
        _writer.Initialise(Epoch.New());
        long end = Environment.TickCount64 + TimeoutMilliseconds;
        while (_reader.Read([], out _) is ReadStatus.Inactive or ReadStatus.NewEpoch or ReadStatus.Incompatible) Pause(end, "the response channel to become active");
        _reader.Drain();
        Assert.Equal(0ul, Ask(RequestKind.Reset));
    }

    public uint Send(RequestKind kind, ushort device = 0, ulong length = 0, ulong deviceOffset = 0, ulong bufferOffset = 0)
    {
        uint tag = ++_tag;
        _writer.Next() = new Request { Kind = kind, Device = device, Tag = tag, Length = length, DeviceOffset = deviceOffset, BufferOffset = bufferOffset };
        return tag;
    }

    public void Publish() => _writer.Publish();

    /// <summary>Sends a request and waits for its answer; others' answers are dropped.</summary>
    public ulong Ask(RequestKind kind, ushort device = 0, ulong length = 0, ulong deviceOffset = 0, ulong bufferOffset = 0)
    {
        uint tag = Send(kind, device, length, deviceOffset, bufferOffset);
        Publish();
        long end = Environment.TickCount64 + TimeoutMilliseconds;
        while (true)
        {
            foreach (Response response in Poll())
            {
                if (response.Tag != tag) continue;
                Assert.Equal(kind, response.Kind);
                Assert.Equal(device, response.Device);
                return response.Status;
            }

            Pause(end, $"the answer to {kind}");
        }
    }

    /// <summary>Waits for as many answers.</summary>
    public List<Response> Await(int count)
    {
        long end = Environment.TickCount64 + TimeoutMilliseconds;
        var answers = new List<Response>();
        while (answers.Count < count)
        {
            answers.AddRange(Poll());
            if (answers.Count < count) Pause(end, $"{count} answers, of which {answers.Count} came");
        }

        return answers;
    }

    /// <summary>What has come so far.</summary>
    public Response[] Poll() => _reader.Read(_batch, out int count) == ReadStatus.Success ? _batch[..count] : [];

    /// <summary>What the reader sees of the channel, without waiting.</summary>
    public ReadStatus Look() => _reader.Read([], out _);

    public void Dispose()
    {
        _writer.Deactivate();
        _request.Dispose();
        _response.Dispose();
        _buffer.Dispose();
    }

    private static void Pause(long end, string what)
    {
        Assert.True(Environment.TickCount64 < end, $"waited in vain for {what}");
        Thread.Sleep(0);
    }
}
