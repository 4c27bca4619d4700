using BenchmarkDotNet.Attributes;
using MuenBlock.Protocol.Messages;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Bench;

/// <summary>What an I/O costs in the client's table: from the kernel's request to the packet, and from the answer to the completion.</summary>
[MemoryDiagnoser]
public class InFlightBenchmarks
{
    private const int PerInvocation = 1024;
    private const ulong SlotSize = 256 << 10;

    private readonly Response[] _answers = new Response[PerInvocation];
    private SessionMachine<Requests, Completions> _session = null!;
    private Sink _sink = null!;

    /// <summary>I/Os that are submitted, and then answered, together.</summary>
    [Params(1, 64)]
    public int Depth { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _sink = new Sink(PerInvocation);
        _session = new SessionMachine<Requests, Completions>(OffsetUnit.Sectors, PeerFeatures.Agrees, 1, new NoEvents(), new Requests(_sink), new Completions(_sink));
        _session.Prepare(Depth, SlotSize);
        _session.ServerAppeared(0);
        while (_session.State == SessionState.Greeting)
        {
            Request asked = _sink.Sent[0];
            ulong value = asked.Kind switch
            {
                RequestKind.Reset => 0,
                RequestKind.Features => (ulong)PeerFeatures.Agrees,
                RequestKind.MaxDevices => 1,
                RequestKind.BlockLength => 512,
                _ => 1 << 20,
            };
            _sink.Count = 0;
            _session.Receive([new Response { Kind = asked.Kind, Device = asked.Device, Tag = asked.Tag, Status = value }], 0);
        }
    }

    [Benchmark(OperationsPerInvoke = PerInvocation)]
    public long SubmitAndAnswer()
    {
        for (int done = 0; done < PerInvocation; done += Depth)
        {
            _sink.Count = 0;
            for (uint slot = 0; slot < (uint)Depth; slot++) _session.Submit(slot, RequestKind.Read, 0, slot * 4096ul, 4096);
            for (int i = 0; i < Depth; i++)
            {
                ref readonly Request sent = ref _sink.Sent[i];
                _answers[i] = new Response { Kind = sent.Kind, Device = sent.Device, Tag = sent.Tag };
            }

            _session.Receive(_answers.AsSpan(0, Depth), 0);
        }

        return _sink.Completed;
    }

    private sealed class Sink(int requests)
    {
        public Request[] Sent { get; } = new Request[requests];

        public int Count { get; set; }

        public long Completed { get; set; }
    }

    private readonly struct Requests(Sink sink) : IRequestQueue
    {
        public void Send(in Request request) => sink.Sent[sink.Count++] = request;

        public void Restart() => sink.Count = 0;
    }

    private readonly struct Completions(Sink sink) : IBlockCompletions
    {
        public void Complete(uint slot, int result) => sink.Completed += result;

        public void Abandon(uint slot, int errno)
        {
        }

        public void Restore(uint slot, uint length)
        {
        }
    }

    private sealed class NoEvents : ISessionEvents
    {
        public void Ready(PeerFeatures serverFeatures, ulong replayed)
        {
        }

        public void Refused(string rule) => throw new InvalidOperationException(rule);

        public void NoAnswer(RequestKind question, ushort device)
        {
        }

        public void Stray(in Response response) => throw new InvalidOperationException("stray");
    }
}
