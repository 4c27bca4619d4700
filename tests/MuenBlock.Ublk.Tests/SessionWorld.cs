using MuenBlock.Protocol.Messages;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Tests;

/// <summary>A session with a server that answers as it is told.</summary>
internal sealed class SessionWorld : ISessionEvents
{
    public const ulong Blocks = 1000; // of every device

    public const int SlotSize = 8192;
    public const int Slots = 16;

    public SessionWorld(Patience? patience = null, JoinedSessions.Member? joined = null, bool grows = true)
    {
        Session = new SessionMachine<Requests, Completions>(OffsetUnit.Sectors, PeerFeatures.Agrees, 42, this, new Requests(this), new Completions(this), joined)
        {
            Patience = patience ?? Patience.Endless,
            Grows = grows,
        };
        Session.Prepare(Slots, SlotSize);
    }

    public SessionMachine<Requests, Completions> Session { get; }

    public List<Request> Sent { get; } = [];

    public List<(uint Slot, int Result)> Completed { get; } = [];

    /// <summary>Those of <see cref="Completed"/> whose slot the server may still touch.</summary>
    public List<uint> Abandoned { get; } = [];

    public List<(uint Slot, uint Length)> Restored { get; } = [];

    public List<string> Told { get; } = [];

    public List<RequestKind> Unanswered { get; } = [];

    public string? Refusal { get; private set; }

    public int Restarts { get; private set; }

    public static ulong GoodAnswer(RequestKind question) => question switch
    {
        RequestKind.Reset => 0,
        RequestKind.Features => (ulong)(PeerFeatures.Agrees | PeerFeatures.Traits),
        RequestKind.MaxDevices => 1,
        RequestKind.MediaBlocks => Blocks,
        RequestKind.BlockLength => 512,
        RequestKind.MaxBlocksCount => 256,
        _ => (ulong)DeviceTraits.Known,
    };

    /// <summary>Whether a server of the original takes the second for the continuation of the first (docs/wire-format.md, "With peers of the original").</summary>
    public static bool IsMerged(in Request first, in Request second) =>
        first.Kind == second.Kind
        && first.Device == second.Device
        && second.DeviceOffset == first.DeviceOffset + first.Length
        && second.BufferOffset == first.BufferOffset + first.Length;

    public List<Request> TakeSent()
    {
        List<Request> sent = [.. Sent];
        Sent.Clear();
        return sent;
    }

    public void Answer(Request request, ulong status, long now = 0) =>
        Session.Receive([new Response { Kind = request.Kind, Device = request.Device, Tag = request.Tag, Status = status }], now);

    public void AnswerNext(ulong? status = null)
    {
        Request request = Assert.Single(TakeSent());
        Answer(request, status ?? GoodAnswer(request.Kind));
    }

    /// <summary>A whole handshake, with one answer that differs.</summary>
    public void Greet(RequestKind different = RequestKind.None, ulong answer = 0) => Greet(question => question == different ? answer : GoodAnswer(question));

    public void Greet(Func<RequestKind, ulong> answer)
    {
        Session.ServerAppeared(0);
        while (Session.State == SessionState.Greeting)
        {
            Request request = Sent[0];
            Sent.RemoveAt(0);
            Answer(request, answer(request.Kind));
        }
    }

    /// <summary>A whole handshake with a server that says which disk it has.</summary>
    public void GreetWithDisk(ulong identity)
    {
        Session.ServerAppeared(0);
        while (Sent.Count > 0)
        {
            Request request = Sent[0];
            Sent.RemoveAt(0);
            if (request.Kind is RequestKind.Read or RequestKind.Write or RequestKind.Sync) continue;
            ulong agreed = request.Kind == RequestKind.Features ? (ulong)PeerFeatures.Identity : 0;
            Answer(request, request.Kind == RequestKind.Identity ? identity : GoodAnswer(request.Kind) | agreed);
        }
    }

    void ISessionEvents.Ready(PeerFeatures serverFeatures, ulong replayed)
    {
    }

    void ISessionEvents.Refused(string rule) => Refusal = rule;

    void ISessionEvents.OtherDisk(string rule) => Told.Add(rule);

    void ISessionEvents.SizeTold(int device, ulong blocks, string? rule)
    {
        // Not each time that it is as before.
        if (blocks != Blocks) Told.Add(rule ?? $"device {device} has {blocks} blocks");
    }

    void ISessionEvents.SizesAsked(bool complete) => Told.Add($"asked: {complete}");

    void ISessionEvents.NoAnswer(RequestKind question, ushort device) => Unanswered.Add(question);

    void ISessionEvents.Disagrees(string rule) => Told.Add(rule);

    void ISessionEvents.Stray(in Response response)
    {
    }

    void ISessionEvents.Lost(int failed, long milliseconds) => Told.Add($"lost {failed} after {milliseconds}");

    void ISessionEvents.Stalled(in InFlight io, long milliseconds) => Told.Add($"stalled {io.Kind} {io.Offset} after {milliseconds}");

    void ISessionEvents.StallEnded(in InFlight io, long milliseconds, int result) => Told.Add($"ended {io.Kind} {io.Offset} after {milliseconds} with {result}");

    internal readonly struct Requests(SessionWorld world) : IRequestQueue
    {
        public void Send(in Request request) => world.Sent.Add(request);

        public void Restart()
        {
            world.Restarts++;
            world.Sent.Clear();
        }
    }

    internal readonly struct Completions(SessionWorld world) : IBlockCompletions
    {
        public void Complete(uint slot, int result) => world.Completed.Add((slot, result));

        public void Abandon(uint slot, int errno)
        {
            world.Completed.Add((slot, errno));
            world.Abandoned.Add(slot);
        }

        public void Restore(uint slot, uint length) => world.Restored.Add((slot, length));
    }
}
