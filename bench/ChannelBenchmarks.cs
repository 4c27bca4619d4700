using System.Runtime.InteropServices;
using BenchmarkDotNet.Attributes;
using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;

namespace MuenBlock.Bench;

/// <summary>What a request costs from one end of a channel to the other, on one core: compose, publish, read, validate the header.</summary>
[MemoryDiagnoser]
public unsafe class ChannelBenchmarks
{
    private const nuint Length = 0x8000;
    private const int PerInvocation = 1024;

    private byte* _memory;
    private ChannelWriter<Request> _writer = null!;
    private ChannelReader<Request> _reader = null!;
    private readonly Request[] _batch = new Request[64];

    /// <summary>Requests that are published and read together.</summary>
    [Params(1, 16, 64)]
    public int Batch { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _memory = (byte*)NativeMemory.AlignedAlloc(Length, 4096);
        _writer = new ChannelWriter<Request>(_memory, Length, 1);
        _reader = new ChannelReader<Request>(_memory, Length, 1);
        _writer.Initialise(1);
        _ = _reader.Read(_batch, out _);
    }

    [GlobalCleanup]
    public void Cleanup() => NativeMemory.AlignedFree(_memory);

    [Benchmark(OperationsPerInvoke = PerInvocation)]
    public ulong WriteAndRead()
    {
        ulong sum = 0;
        for (int done = 0; done < PerInvocation; done += Batch)
        {
            for (int i = 0; i < Batch; i++)
                _writer.Next() = new Request { Kind = RequestKind.Read, Tag = (uint)i, Length = 4096, DeviceOffset = (ulong)done, BufferOffset = 0 };
            _writer.Publish();
            _ = _reader.Read(_batch.AsSpan(0, Batch), out int count);
            sum += (ulong)count + _batch[0].DeviceOffset;
        }

        return sum;
    }
}
