using Microsoft.Extensions.Logging.Abstractions;
using MuenBlock.Backend.Serving;
using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;

namespace MuenBlock.Simulation.Tests;

/// <summary>A run of the backend: its machine, and its loop without the sleeping.</summary>
internal sealed class Server
{
    private readonly ChannelReader<Request> _requests;
    private readonly ChannelWriter<Response> _responses;
    private readonly ServingMachine<DiskQueue, ChannelResponses> _machine;
    private readonly Disk _disk;
    private readonly Random _random;

    public Server(SharedMemory memory, Disk disk, int size, bool plain, Random random)
    {
        _random = random;
        _disk = disk;
        _requests = memory.RequestReader();
        _responses = memory.ResponseWriter();
        _machine = new ServingMachine<DiskQueue, ChannelResponses>(
            [new ServedDevice((ulong)size, 512, DeviceTraits.Known | DeviceTraits.Discard)],
            OffsetUnit.Sectors,
            (ulong)memory.Buffer.Length,
            (int)Math.Min(_requests.Elements, _responses.Elements),
            4,
            plain ? PeerFeatures.None : PeerFeatures.Agrees | PeerFeatures.Traits,
            new Complaints(NullLogger.Instance, 1),
            new DiskQueue(disk),
            new ChannelResponses(_responses));
        if (_requests.Read([], out _) == ReadStatus.NewEpoch) _requests.Drain();
        _responses.Initialise(Epoch.New());
    }

    public void Step()
    {
        for (int i = _random.Next(3); i > 0 && _disk.Busy; i--)
        {
            if (_disk.Step() is (uint slot, int result)) _machine.Complete(slot, result);
        }

        if (!_machine.Inbox.IsEmpty && _requests.HasNews && _random.Next(3) > 0)
        {
            switch (_requests.Read(_machine.Inbox, out int count))
            {
                case ReadStatus.Success:
                    _machine.Accept(count);
                    break;
                case ReadStatus.NewEpoch or ReadStatus.Inactive or ReadStatus.Incompatible:
                    _machine.BeginSession();
                    break;
                case ReadStatus.Overrun:
                    _machine.BeginSession();
                    _responses.Initialise(Epoch.New());
                    break;
                default:
                    break;
            }
        }

        _responses.Publish();
    }

    /// <summary>A clean end, which waits for its I/O.</summary>
    public void Stop()
    {
        while (_disk.Busy)
        {
            if (_disk.Step() is (uint slot, int result)) _machine.Complete(slot, result);
        }

        _responses.Publish();
        _responses.Deactivate();
    }
}
