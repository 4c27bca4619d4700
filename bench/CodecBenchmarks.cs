using BenchmarkDotNet.Attributes;
using MuenBlock.Backend.Serving;
using MuenBlock.Protocol.Messages;

namespace MuenBlock.Bench;

/// <summary>What a request's validation and a status' translation cost, which every I/O pays on its way.</summary>
[MemoryDiagnoser]
public class CodecBenchmarks
{
    private const int PerInvocation = 1024;
    private const ulong BufferLength = 16 << 20;

    private readonly ServedDevice _device = new(1ul << 40, 4096, DeviceTraits.Known);
    private readonly Request[] _requests = new Request[PerInvocation];

    [GlobalSetup]
    public void Setup()
    {
        for (int i = 0; i < PerInvocation; i++)
            _requests[i] = new Request { Kind = RequestKind.Read, Tag = (uint)i, Length = 4096, DeviceOffset = (ulong)i * 8, BufferOffset = (ulong)i * 4096 };
    }

    [Benchmark(OperationsPerInvoke = PerInvocation)]
    public ulong Check()
    {
        ulong sum = 0;
        foreach (ref readonly Request request in _requests.AsSpan())
        {
            if (RequestRules.CheckTransfer(request, _device, OffsetUnit.Sectors, BufferLength, out ulong offset) == RequestRule.Kept) sum += offset;
        }

        return sum;
    }

    [Benchmark(OperationsPerInvoke = PerInvocation)]
    public int TranslateStatus()
    {
        int sum = 0;
        for (int i = 0; i < PerInvocation; i++) sum += StatusErrno.ToErrno((ulong)StatusErrno.FromErrno(i & 31));
        return sum;
    }
}
