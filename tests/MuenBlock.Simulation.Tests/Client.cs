using MuenBlock.Backend.Serving;
using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Simulation.Tests;

/// <summary>A run of the client: its session, and its loop without the sleeping.</summary>
internal sealed class Client : ISessionEvents
{
    /// <summary>Packets that I/O leaves free.</summary>
    public const int Questions = SessionMachine<WriterQueue, Outcomes>.Questions;

    private readonly ChannelWriter<Request> _requests;
    private readonly ChannelReader<Response> _responses;
    private readonly SessionMachine<WriterQueue, Outcomes> _session;
    private readonly Response[] _inbox = new Response[4];
    private readonly Outcome[] _outcomes = new Outcome[64];
    private readonly World _world;
    private readonly Random _random;
    private readonly Kernel _kernel;
    private int _outcomeCount;
    private bool _prepared;
    private bool _assigned;
    private int _lostFor;
    private bool _asks;
    private bool _refuses;

    public Client(World world, SharedMemory memory, Kernel kernel, Patience patience, Random random)
    {
        _world = world;
        _random = random;
        _kernel = kernel;
        _requests = memory.RequestWriter();
        _responses = memory.ResponseReader();
        _session = new SessionMachine<WriterQueue, Outcomes>(
            OffsetUnit.Sectors, PeerFeatures.Agrees | PeerFeatures.Traits | PeerFeatures.Identity | PeerFeatures.Watch, random.Next(), this, new WriterQueue(this, world), new Outcomes(this))
        {
            Patience = patience,
            KnowsDisks = world.HasRecords,
        };
        _requests.Initialise(world.NewEpoch());
        world.Trace.Log($"client: starts");
    }

    /// <summary>The rule for which the server was refused, which must not happen between honest ends.</summary>
    public string? Refusal { get; private set; }

    /// <summary>Whether the devices were learnt from a server that was not honest: such a client would not have got to serve I/O.</summary>
    public bool WasDeceived { get; private set; }

    public bool Recovering => _session.State != SessionState.Ready;

    public ulong Replayed => _session.Replayed;

    /// <summary>A turn of the loop.</summary>
    /// <param name="now">Milliseconds.</param>
    /// <param name="parts">How many parts of it are done before the client is killed.</param>
    public void Step(long now, int parts)
    {
        _session.Now = now;
        if (_assigned) TakeFromKernel();
        if (--parts <= 0) return;
        _requests.Publish();
        if (--parts <= 0) return;
        if (_lostFor > 0 && --_lostFor == 0) RestoreMemory();
        if (_lostFor == 0 && _responses.HasNews && _random.Next(3) > 0) TakeResponses(now);
        long before = GC.GetAllocatedBytesForCurrentThread();
        _session.Tick(now);
        Invariants.I4_nothing_is_allocated(before, _world.Measures);
        Settle();
        if (--parts <= 0) return;
        _requests.Publish();
        if (_prepared && !_assigned && !WasDeceived)
        {
            _assigned = true;
            _session.Prepare(_kernel.Slots, Kernel.SlotSize);
            for (int i = 0; i < Drive.All.Length; i++) _kernel.Grow(i, (int)(_session.Devices[i].Size / Drive.Sector));
            _kernel.Reissue();
        }
    }

    /// <summary>The memory that is shared is gone for some turns: the client finds that out, and the server does not.</summary>
    public void LoseMemory(int turns)
    {
        if (!_assigned || _lostFor > 0) return;
        _world.Trace.Log($"client: the memory is lost");
        _world.Tally.MemoryLosses++;
        _lostFor = turns;
        _session.MemoryLost();
        Settle();
    }

    /// <summary>Somebody wants to know how large the disks are.</summary>
    public void AskSizes(long now)
    {
        if (_asks || !_assigned) return;
        _asks = true;
        _session.AskSizes(now);
    }

    /// <summary>What holds after each step.</summary>
    public void Check()
    {
        Invariants.I1_what_is_in_flight_fits_the_channels(_session.Count, Math.Min(_requests.Elements, _responses.Elements));
        Invariants.I1_what_is_in_flight_fits_the_channels((int)_requests.Open, _requests.Elements);
        if (_assigned) Invariants.I8_nothing_is_forgotten(_session.Count, _kernel.HandedOver);
    }

    public void Ready(PeerFeatures serverFeatures, ulong replayed)
    {
        _world.Trace.Log($"client: ready, {replayed} sent again");
        Refusal = null;
        _world.SessionBegan(_responses.Epoch);
        if (_prepared) return;
        _prepared = true;
        WasDeceived = _session.Devices.Length != Drive.All.Length;
        for (int i = 0; i < Drive.All.Length && !WasDeceived; i++)
        {
            // So recover looks at what it finds: size, blocks, access, and the disk that is in the record.
            DeviceGeometry geometry = _session.Devices[i];
            if (DiskIdentity.Differ(Server.RightDisk, geometry.Identity)) _world.Tally.WrongDisksRefused++;
            WasDeceived = geometry.Size < (ulong)_kernel.Promised(i) * Drive.Sector || geometry.Size > (ulong)_world.SectorsOf(i) * Drive.Sector
                || DiskIdentity.Differ(Server.RightDisk, geometry.Identity) || geometry.BlockLength != Drive.All[i].BlockLength || geometry.MostBlocks != RequestRules.MostBlocks
                || (_world.HasRecords && geometry.IsWritable == Drive.All[i].IsReadOnly);
        }
    }

    public void Refused(string rule) => Refusal = rule;

    public void OtherDisk(string rule)
    {
        if (rule.StartsWith("AccessStaysTheSame", StringComparison.Ordinal)) _world.Tally.ReadOnlyRefused++;
        else _world.Tally.WrongDisksRefused++;
        _refuses = true;
    }

    public void SizeTold(int device, ulong blocks, string? rule)
    {
        if (_world.Trusting)
        {
            if (rule is not null) Refusal = rule;
            Invariants.I3_no_more_is_promised_than_there_is(device, blocks, _world.SectorsOf(device));
        }

        if (rule is not null) return;
        if (blocks * Drive.All[device].BlockLength > (ulong)_world.SectorsOf(device) * Drive.Sector) WasDeceived = true;
        else _kernel.Grow(device, (int)blocks * Drive.All[device].SectorsOfBlock);
    }

    public void SizesAsked(bool complete) => _asks = false;

    public void NoAnswer(RequestKind question, ushort device)
    {
    }

    public void Stray(in Response response)
    {
    }

    private void RestoreMemory()
    {
        _responses.Forget();
        _session.MemoryReturned();
        _requests.Initialise(_world.NewEpoch());
    }

    private void TakeFromKernel()
    {
        while (_kernel.TryFetch(out Kernel.Io io))
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            _session.Submit(io.Slot, io.Kind, (ushort)io.Device, io.Offset, io.Length);
            Invariants.I4_nothing_is_allocated(before, _world.Measures);
            Settle();
        }
    }

    private void TakeResponses(long now)
    {
        ReadStatus status = _responses.Read(_inbox, out int count);

        // What is learnt of the devices, and what is said of a server that is refused, is kept; all else needs nothing.
        bool measured = _assigned && _world.Measures && _world.Trusting;
        _refuses = false;
        long before = GC.GetAllocatedBytesForCurrentThread();
        switch (status)
        {
            case ReadStatus.Success:
                _session.Receive(_inbox.AsSpan(0, count), now);
                break;
            case ReadStatus.NewEpoch:
                _responses.Drain();
                _session.ServerAppeared(now);
                break;
            case ReadStatus.Overrun:
                Invariants.I1_no_packet_is_overrun(_world.Trusting);
                _session.ServerAppeared(now);
                break;
            case ReadStatus.Inactive or ReadStatus.Incompatible:
                _session.ServerLeft();
                break;
            default:
                break;
        }

        Invariants.I4_nothing_is_allocated(before, measured && !_refuses);
        Settle();
    }

    /// <summary>Tells the kernel what the session decided.</summary>
    private void Settle()
    {
        foreach (ref readonly Outcome outcome in _outcomes.AsSpan(0, _outcomeCount))
        {
            switch (outcome.What)
            {
                case What.Complete:
                    _kernel.Complete(outcome.Slot, outcome.Value);
                    break;
                case What.Abandon:
                    _kernel.Abandon(outcome.Slot, outcome.Value);
                    break;
                default:
                    _kernel.Restore(outcome.Slot, (uint)outcome.Value);
                    break;
            }
        }

        _outcomeCount = 0;
    }

    private enum What
    {
        Complete,
        Abandon,
        Restore,
    }

    private readonly record struct Outcome(What What, uint Slot, int Value);

    internal readonly struct WriterQueue(Client client, World world) : IRequestQueue
    {
        public void Send(in Request request)
        {
            if (request.Kind is RequestKind.Read or RequestKind.Write) Invariants.I3_a_request_stays_in_its_slot(request, (ushort)request.Tag);
            client._requests.Next() = request;
            world.Trace.Log($"client: sends {request.Kind}, tag {request.Tag:x}");
        }

        public void Restart() => client._requests.Initialise(world.NewEpoch());
    }

    internal readonly struct Outcomes(Client client) : IBlockCompletions
    {
        public void Complete(uint slot, int result) => client._outcomes[client._outcomeCount++] = new Outcome(What.Complete, slot, result);

        public void Abandon(uint slot, int errno) => client._outcomes[client._outcomeCount++] = new Outcome(What.Abandon, slot, errno);

        public void Restore(uint slot, uint length) => client._outcomes[client._outcomeCount++] = new Outcome(What.Restore, slot, (int)length);
    }
}
