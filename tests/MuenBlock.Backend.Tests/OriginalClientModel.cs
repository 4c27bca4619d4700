using System.Runtime.InteropServices;
using MuenBlock.Protocol;
using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Regions;
using Xunit;

namespace MuenBlock.Backend.Tests;

/// <summary>
/// One run of the original's native client, with all that it does not check: always epoch 1, a drain without effect, no time-out, any
/// answer taken for the Reset's, an answer's tag looked at for questions only (codelabs-ch/muen, components/src/muenblock_client.adb,
/// muchannel-readers.adb). It ends without a word.
/// </summary>
internal sealed unsafe class OriginalClientModel : IDisposable
{
    public const ulong Epoch = 1;
    private const int HangMilliseconds = 20_000; // it would wait for ever

    private readonly Region _request;
    private readonly Region _response;
    private readonly Region _buffer;
    private readonly ChannelWriter<Request> _writer;
    private readonly uint _elements;
    private ulong _epoch;
    private ulong _read;
    private (RequestKind Kind, uint Tag) _asked;
    private bool _answered;

    public OriginalClientModel(string directory, ConnectionString name)
    {
        _request = Region.Open(directory, name.Request, writable: true, 4096);
        _response = Region.Open(directory, name.Response, writable: false, 4096);
        _buffer = Region.Open(directory, name.Buffer, writable: true, 4096);
        _writer = new ChannelWriter<Request>(_request.Memory, _request.Length, name.RequestProtocol);
        _elements = (uint)((_response.Length - 64) / (nuint)sizeof(Response));
    }

    public Span<byte> Buffer => new(_buffer.Memory, (int)_buffer.Length);

    /// <summary>What it does where nothing has come, before it looks again.</summary>
    public Action Halt { get; init; } = static () => Thread.Sleep(0);

    /// <summary>Requests that it has sent.</summary>
    public ulong Sent => _writer.Written;

    /// <summary>0 if it found no device.</summary>
    public ulong Devices { get; private set; }

    public ulong Blocks { get; private set; }

    public ulong BlockLength { get; private set; }

    public ulong MostBlocks { get; private set; }

    /// <summary>The greeting, or its first steps.</summary>
    public void Initialise(int steps = int.MaxValue)
    {
        _writer.Initialise(Epoch);
        long end = Environment.TickCount64 + HangMilliseconds;
        while (Field(8) == 0) Pause(end);
        Send(new Request { Kind = RequestKind.Reset });
        if (steps < 2) return;
        _ = Receive(out _);
        Send(new Request { Kind = RequestKind.MaxDevices, Tag = 1 });
        if (steps < 3) return;
        if (Receive(out Response answer) && answer.Kind == RequestKind.MaxDevices && answer.Tag == 1) Devices = answer.Status;
        if (Devices == 0) return;
        (RequestKind, uint)[] questions = [(RequestKind.MediaBlocks, 10), (RequestKind.BlockLength, 11), (RequestKind.MaxBlocksCount, 12)];
        foreach ((RequestKind kind, uint tag) in questions) Send(new Request { Kind = kind, Tag = tag });
        if (steps < 4) return;
        while (Blocks == 0 || BlockLength == 0 || MostBlocks == 0)
        {
            if (!Receive(out answer)) continue;
            if (answer.Tag == 10) Blocks = answer.Status;
            if (answer.Tag == 11) BlockLength = answer.Status;
            if (answer.Tag == 12) MostBlocks = answer.Status;
        }
    }

    /// <summary>Waits for the answer to the last that was sent, if that has not come: then the server has seen all of it.</summary>
    public void AwaitAnswer()
    {
        long end = Environment.TickCount64 + HangMilliseconds;
        while (!_answered)
        {
            Assert.True(Environment.TickCount64 < end, "the server does not answer");
            _ = Receive(out _);
        }
    }

    /// <summary>As many I/Os one behind the other, at the same time; whether all succeeded, as far as it can tell.</summary>
    public bool Transfer(RequestKind kind, ulong sector, ulong bufferOffset, ulong length, int count = 1)
    {
        Begin(kind, sector, bufferOffset, length, count);
        bool good = true;
        for (int i = 0; i < count && good; i++) good = Receive(out Response answer) && answer.Status == 0;
        return good;
    }

    /// <summary>The same without waiting for the answers.</summary>
    public void Begin(RequestKind kind, ulong sector, ulong bufferOffset, ulong length, int count)
    {
        for (uint i = 0; i < count; i++)
            Send(new Request { Kind = kind, Tag = 0x1000 + i, Length = length, DeviceOffset = sector + (i * (length >> 9)), BufferOffset = bufferOffset + (i * length) });
    }

    public bool Sync()
    {
        Send(new Request { Kind = RequestKind.Sync, Tag = 21 });
        return Receive(out Response answer) && answer.Kind == RequestKind.Sync && answer.Tag == 21 && answer.Status == 0;
    }

    public void Dispose()
    {
        _request.Dispose();
        _response.Dispose();
        _buffer.Dispose();
    }

    private void Send(in Request request)
    {
        _asked = (request.Kind, request.Tag);
        _answered = false;
        _writer.Next() = request;
        _writer.Publish();
    }

    private bool Receive(out Response response)
    {
        long end = Environment.TickCount64 + HangMilliseconds;
        while (true)
        {
            response = default;
            ulong epoch = Field(8);
            if (epoch == 0) return false;
            if (_epoch == 0 || epoch != _epoch)
            {
                _read = 0;
                _epoch = epoch;
            }

            if (_read < Field(56))
            {
                response = MemoryMarshal.Read<Response>(new ReadOnlySpan<byte>(_response.Memory + 64 + (int)(_read % _elements * (uint)sizeof(Response)), sizeof(Response)));
                Volatile.ReadBarrier();
                bool overrun = Field(48) > _read + _elements;
                _read = overrun ? Field(56) : _read + 1;
                if (Field(8) == _epoch)
                {
                    _answered |= !overrun && (response.Kind, response.Tag) == _asked;
                    return !overrun;
                }
            }

            Pause(end);
        }
    }

    private ulong Field(int offset) => Volatile.Read(ref *(ulong*)(_response.Memory + offset));

    private void Pause(long end)
    {
        Assert.True(Environment.TickCount64 < end, "the original's client waits for ever");
        Halt();
    }
}
