using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;
using MuenBlock.Ublk.Session;
using Xunit;

namespace MuenBlock.Simulation.Tests;

/// <summary>A run of the client: its session, and its loop without the sleeping.</summary>
internal sealed class Client : ISessionEvents
{
    private readonly ChannelWriter<Request> _requests;
    private readonly ChannelReader<Response> _responses;
    private readonly SessionMachine<WriterQueue, KernelQueue> _session;
    private readonly Response[] _inbox = new Response[4];
    private readonly Random _random;
    private readonly Kernel _kernel;
    private bool _prepared;

    public Client(SharedMemory memory, Kernel kernel, Patience patience, Random random)
    {
        _random = random;
        _kernel = kernel;
        _requests = memory.RequestWriter();
        _responses = memory.ResponseReader();
        _session = new SessionMachine<WriterQueue, KernelQueue>(
            OffsetUnit.Sectors, PeerFeatures.Agrees | PeerFeatures.Traits, random.Next(), this, new WriterQueue(_requests), new KernelQueue(kernel))
        {
            Patience = patience,
        };
        _requests.Initialise(Epoch.New());
    }

    /// <summary>Whether the server is refused, which must not happen here.</summary>
    public string? Refusal { get; private set; }

    public ulong Strays => _session.Strays;

    public void Step(long now)
    {
        _session.Now = now;
        if (_prepared)
        {
            while (_kernel.TryFetch(out Kernel.Io io)) _session.Submit(io.Slot, io.Kind, 0, io.Offset, io.Length);
        }

        if (_responses.HasNews && _random.Next(3) > 0)
        {
            switch (_responses.Read(_inbox, out int count))
            {
                case ReadStatus.Success:
                    _session.Receive(_inbox.AsSpan(0, count), now);
                    break;
                case ReadStatus.NewEpoch:
                    _responses.Drain();
                    _session.ServerAppeared(now);
                    break;
                case ReadStatus.Overrun:
                    _session.ServerAppeared(now);
                    break;
                case ReadStatus.Inactive or ReadStatus.Incompatible:
                    _session.ServerLeft();
                    break;
                default:
                    break;
            }
        }

        _session.Tick(now);
        Assert.True(_requests.Open <= _requests.Elements, "more requests were composed than the channel holds");
        _requests.Publish();
    }

    public void Ready(PeerFeatures serverFeatures, ulong replayed)
    {
        if (_prepared) return;
        _prepared = true;
        _session.Prepare(_kernel.Slots, Kernel.SlotSize);
        _kernel.Reissue();
    }

    public void Refused(string rule) => Refusal = rule;

    public void NoAnswer(RequestKind question, ushort device)
    {
    }

    public void Stray(in Response response)
    {
    }

    private readonly struct WriterQueue(ChannelWriter<Request> writer) : IRequestQueue
    {
        public void Send(in Request request) => writer.Next() = request;

        public void Restart() => writer.Initialise(Epoch.New());
    }

    private readonly struct KernelQueue(Kernel kernel) : IBlockCompletions
    {
        public void Complete(uint slot, int result) => kernel.Complete(slot, result);

        public void Abandon(uint slot, int errno) => kernel.Abandon(slot, errno);

        public void Restore(uint slot, uint length) => kernel.Restore(slot, length);
    }
}
