using Microsoft.Extensions.Logging.Abstractions;
using MuenBlock.Backend.Serving;
using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;

namespace MuenBlock.Simulation.Tests;

/// <summary>What somebody gets wrong who starts a backend.</summary>
internal enum Mistake
{
    None,
    OtherDisk,
    ReadOnly,
}

/// <summary>A run of the backend: its machine, and its loop without the sleeping.</summary>
internal sealed class Server
{
    public const ulong RightDisk = 0x11;

    private const ulong WrongDisk = 0x33;
    private const int Batch = 4;
    private const long StepMilliseconds = 10; // so that a pause before something is asked again takes some steps

    private readonly ChannelReader<Request> _requests;
    private readonly ChannelWriter<Response> _responses;
    private readonly ServingMachine<DiskQueue, CheckedResponses> _machine;
    private readonly World _world;
    private readonly Disks _disks;
    private readonly Random _random;
    private bool _draining;

    public Server(World world, SharedMemory memory, Disks disks, bool plain, Mistake mistake, Random random)
    {
        _world = world;
        _random = random;
        _disks = disks;
        IsWrong = mistake != Mistake.None;
        _requests = memory.RequestReader();
        _responses = memory.ResponseWriter();
        _machine = new ServingMachine<DiskQueue, CheckedResponses>(
            [.. Drive.All.Select((drive, device) => drive.Served(disks.Sectors(device), mistake == Mistake.OtherDisk ? WrongDisk : RightDisk, mistake == Mistake.ReadOnly ? DeviceTraits.ReadOnly : DeviceTraits.None))],
            OffsetUnit.Sectors,
            (ulong)memory.Buffer.Length,
            (int)Math.Min(_requests.Elements, _responses.Elements),
            Batch,
            plain ? PeerFeatures.None : PeerFeatures.Agrees | PeerFeatures.Traits | PeerFeatures.Identity | PeerFeatures.Watch,
            new Complaints(NullLogger.Instance, 1),
            new DiskQueue(disks),
            new CheckedResponses(_responses, disks, world));
        int greeting = 0;
        if (_requests.Read([], out _) == ReadStatus.NewEpoch && !OriginalClient.Greets(_requests, _machine.Inbox, out greeting)) _requests.Drain();
        Initialise();
        _machine.BeginSession(resumed: greeting > 0);
        _machine.Accept(greeting);
        world.Trace.Log($"server: starts{(IsWrong ? $" by mistake: {mistake}" : "")}");
    }

    /// <summary>Whether somebody has started it by mistake as it is.</summary>
    public bool IsWrong { get; }

    /// <summary>Takes note of how large the disks are.</summary>
    public void LookAtDisks()
    {
        for (int device = 0; device < Drive.All.Length; device++)
        {
            ulong size = (ulong)_disks.Sectors(device) * Drive.Sector;
            if (_machine.SizeOf(device) != size) _machine.Resize(device, size);
        }
    }

    /// <summary>Whether it waits for the I/O of a session that is over.</summary>
    public bool Recovering => _draining;

    /// <summary>A turn of the loop.</summary>
    /// <param name="parts">How many parts of it are done before the server is killed.</param>
    public void Step(int parts)
    {
        Tick();
        for (int i = _random.Next(3); i > 0 && _disks.UnderWay > 0; i--) EndOne();
        if (--parts <= 0) return;
        Publish();
        if (--parts <= 0) return;
        if ((!_machine.Inbox.IsEmpty || _requests.BeganAnew) && _requests.HasNews && _random.Next(3) > 0) TakeRequests();
        if (_machine.AwaitsConfirmation && _random.Next(100) == 0) _machine.AnswerUnconfirmed();
        if (--parts <= 0) return;
        Publish();
    }

    /// <summary>What holds after each step.</summary>
    public void Check()
    {
        uint elements = Math.Min(_requests.Elements, _responses.Elements);
        Invariants.I1_what_is_in_flight_fits_the_channels(_machine.UnderWay, elements);
        _draining = _machine.UnderWay > 0 && _machine.Inbox.IsEmpty;

        // A hostile client may ask again before it is answered: what completes and what is then asked may be a channel full each.
        Invariants.I1_what_is_in_flight_fits_the_channels((int)_responses.Open, _world.Trusting ? elements : 2 * elements);
    }

    /// <summary>A clean end, which waits for its I/O.</summary>
    public void Stop()
    {
        while (_machine.UnderWay > 0)
        {
            Tick();
            if (_disks.UnderWay > 0) EndOne();
        }

        _responses.Publish();
        _responses.Deactivate();
        _world.Trace.Log($"server: stopped");
    }

    private void Initialise()
    {
        _world.ServerEpoch = _world.NewEpoch();
        _responses.Initialise(_world.ServerEpoch);
    }

    private void Publish()
    {
        if (_responses.Open == 0) return;
        if (_requests.BeganAnew) _responses.Withdraw();
        else _responses.Publish();
    }

    private void Tick()
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        _machine.Now += StepMilliseconds;
        _machine.Tick();
        Invariants.I4_nothing_is_allocated(before, _world.Measures);
    }

    private void EndOne()
    {
        if (!_disks.TryEnd(out uint slot, out int result)) return;
        long before = GC.GetAllocatedBytesForCurrentThread();
        _machine.Complete(slot, result);
        Invariants.I4_nothing_is_allocated(before, _world.Measures);
    }

    private void TakeRequests()
    {
        ReadStatus status = _requests.Read(_machine.Inbox, out int count);
        long before = GC.GetAllocatedBytesForCurrentThread();
        switch (status)
        {
            case ReadStatus.Success:
                if (!_responses.FirstExpired && OriginalClient.HasReadAnswers(_requests)) _responses.ExpireFirst();
                _machine.Accept(count);
                break;
            case ReadStatus.NewEpoch:
                bool isOriginal = OriginalClient.Is(_requests);
                if (!isOriginal && _responses.FirstExpired) Initialise();
                _machine.BeginSession(resumed: isOriginal && _responses.FirstExpired);
                break;
            case ReadStatus.Inactive or ReadStatus.Incompatible:
                _machine.BeginSession();
                break;
            case ReadStatus.Overrun:
                Invariants.I1_no_packet_is_overrun(_world.Trusting);
                _machine.BeginSession();
                Initialise();
                break;
            default:
                break;
        }

        Invariants.I4_nothing_is_allocated(before, _world.Measures);
    }

    private readonly struct CheckedResponses(ChannelWriter<Response> writer, Disks disks, World world) : IResponseQueue
    {
        private readonly ChannelResponses _responses = new(writer);

        public void Answer(RequestKind kind, ushort device, uint tag, ulong status)
        {
            if (kind == RequestKind.Reset && status == (ulong)Status.Ok) Invariants.I6_a_reset_ends_all_of_before(disks);
            world.Trace.Log($"server: answers {kind}, tag {tag:x}: {status}");
            _responses.Answer(kind, device, tag, status);
        }
    }
}
