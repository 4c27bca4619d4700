using System.Runtime.CompilerServices;
using MuenBlock.Protocol.Messages;

namespace MuenBlock.Ublk.Session;

/// <summary>
/// A client's side of a connection, apart from all system calls: block I/O, responses and time go in, requests and completions come out.
/// <list type="bullet">
/// <item>An I/O stays in the table until its answer came, whatever happens to the server: it is sent again after the next
/// handshake, in the order of arrival (invariant I8). Its slot of the buffer is its own meanwhile (I2), so a repeat carries the same data.</item>
/// <item>Every I/O that is sent has a tag that none of the 65,535 before it in its slot had. An answer must match tag, kind and device
/// of what was asked, in private memory, or it is not one (I3).</item>
/// <item>Before the answer to its Reset a session believes nothing that the channel holds.</item>
/// <item>With a time-out, an I/O that was not answered in time ends the session: all I/O fails until another has begun.</item>
/// <item>An I/O may have its data elsewhere in the buffer than in its slot: in memory that an application shares. To the session that is a place like any other.</item>
/// <item>A plain server may be one of the original's, which merge what they take for neighbours (see <c>BufferLayout</c>). Of two I/Os
/// that it would merge the later is held until the earlier has ended.</item>
/// </list>
/// </summary>
/// <typeparam name="TRequests">Where requests go. A struct, so that the calls are direct.</typeparam>
/// <typeparam name="TCompletions">Where completions go.</typeparam>
internal sealed partial class SessionMachine<TRequests, TCompletions>
    where TRequests : struct, IRequestQueue
    where TCompletions : struct, IBlockCompletions
{
    /// <summary>How long a server may take to answer a question of the handshake; a Reset may have to wait for slow I/O.</summary>
    public const long AnswerMilliseconds = 5_000;

    /// <summary>How long a server that may be a plain one is waited for to answer what only ours know.</summary>
    public const long FeaturesMilliseconds = 1_000;

    // A tag is the slot in the low half and a count of uses in the high half. Questions use slots that no I/O has.
    private const int SlotBits = 16;
    private const uint SlotMask = (1u << SlotBits) - 1;
    private const uint QuestionSlot = SlotMask;
    private const uint WatchSlot = SlotMask - 1;

    /// <summary>The most I/Os that a connection can have: there are no more slots that are not the questions'.</summary>
    public const int MostSlots = (int)WatchSlot;

    /// <summary>In place of a place in the buffer: the I/O's own slot.</summary>
    public const ulong OwnSlot = ulong.MaxValue;

    private const int SectorShift = 9;
    private const int Eio = 5; // asm-generic/errno-base.h

    private readonly OffsetUnit _unit;
    private readonly PeerFeatures _features;
    private readonly ISessionEvents _events;
    private readonly Handshake _handshake;
    private readonly long _sessionSeed;
    private TRequests _requests;
    private TCompletions _completions;
    private InFlight[] _table = [];
    private (ulong Order, uint Slot)[] _replay = [];
    private ulong _slotSize;
    private DeviceGeometry[] _devices = [];
    private ulong _order;
    private bool _serverMerges;
    private uint _questionTag;
    private long _questionDeadline;

    /// <summary>Creates the session. I/O is taken after <see cref="Prepare"/>.</summary>
    /// <param name="unit">What device offsets count on the wire.</param>
    /// <param name="features">What the server is told of this client.</param>
    /// <param name="seed">Random: where tags begin, so that answers to an earlier run of the program are not taken for ours.</param>
    /// <param name="events">Who is told of what happens.</param>
    /// <param name="requests">Where requests go.</param>
    /// <param name="completions">Where completions go.</param>
    /// <param name="joined">This session among those of joined connections; null where there are no others.</param>
    public SessionMachine(
        OffsetUnit unit, PeerFeatures features, int seed, ISessionEvents events, TRequests requests, TCompletions completions, JoinedSessions.Member? joined = null)
    {
        _joined = joined;
        _handshake = new Handshake();
        _unit = unit;
        _features = features;
        _sessionSeed = seed;
        _questionTag = (uint)seed << SlotBits | QuestionSlot;
        _watchTag = (uint)seed << SlotBits | WatchSlot;
        _events = events;
        _requests = requests;
        _completions = completions;
    }

    /// <summary>
    /// Whether it is known which disks the devices are, so that the server was one of ours. A successor that is slow must not be taken for a plain one, which
    /// could not tell that it has others.
    /// </summary>
    public bool KnowsDisks { get; set; }

    /// <summary>How far the session is.</summary>
    public SessionState State { get; private set; }

    /// <summary>I/Os that the kernel waits for.</summary>
    public int Count { get; private set; }

    /// <summary>Whether the server may have something to say, that size has changed excepted: that may wait.</summary>
    public bool ExpectsAnswer => State != SessionState.Ready || Count > 0 || _askDeadline != long.MaxValue;

    /// <summary>What the server can do beyond muenblock 2.0.</summary>
    public PeerFeatures ServerFeatures => _handshake.ServerFeatures;

    /// <summary>
    /// The devices as the server described them in the first handshake, and as large as they have grown since: what the kernel may be
    /// promised. The index is the id.
    /// </summary>
    public ReadOnlySpan<DeviceGeometry> Devices => _devices;

    /// <summary>I/Os that were sent again after a server's restart.</summary>
    public ulong Replayed { get; private set; }

    /// <summary>Answers that nobody had asked for.</summary>
    public ulong Strays { get; private set; }

    /// <summary>When <see cref="Tick"/> is needed at the latest, in milliseconds of its clock; <see cref="long.MaxValue"/> for never.</summary>
    public long Deadline => Math.Min(State == SessionState.Greeting ? _questionDeadline : SizesDeadline, Count > 0 ? LookDeadline : long.MaxValue);

    /// <summary>Makes the table of I/Os, once the buffer's layout is known. Everything that the session ever needs is allocated now (I4).</summary>
    /// <param name="slots">How many I/Os there can be, at most <see cref="MostSlots"/>; the channel holds <see cref="Questions"/> requests and responses more (I1).</param>
    /// <param name="slotSize">The bytes of the buffer that each has to itself.</param>
    public void Prepare(int slots, ulong slotSize)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(slots, MostSlots);
        _table = new InFlight[slots];
        _replay = new (ulong, uint)[slots];
        _slotSize = slotSize;
        for (int i = 0; i < slots; i++) _table[i].Tag = (uint)_sessionSeed << SlotBits | (uint)i;
    }

    /// <summary>Takes an I/O from the kernel. It ends, sooner or later, in <see cref="IBlockCompletions.Complete"/>.</summary>
    /// <param name="slot">Its slot, which is free.</param>
    /// <param name="kind">Read, Write, Discard or Sync.</param>
    /// <param name="device">The device.</param>
    /// <param name="offset">Where on it, in bytes.</param>
    /// <param name="length">How much, in bytes.</param>
    /// <param name="bufferOffset">Where its data is in the buffer, in bytes, if that is not its slot.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Submit(uint slot, RequestKind kind, ushort device, ulong offset, uint length, ulong bufferOffset = OwnSlot)
    {
        ref InFlight entry = ref _table[slot];
        entry.Kind = kind;
        entry.Device = device;
        entry.Offset = offset;
        entry.Length = length;
        entry.BufferOffset = bufferOffset == OwnSlot ? slot * _slotSize : bufferOffset;
        entry.Order = ++_order;
        entry.Since = Now;
        entry.Sent = false;
        entry.Stalled = false;
        Count++;
        if (_lost || State == SessionState.Refused || CouldBeUndone(kind))
        {
            GiveUp(slot, ref entry);
            return;
        }

        if (State == SessionState.Ready) Send(slot, ref entry);
    }

    /// <summary>Ends an I/O that is none to submit. What the kernel is told of its slot is as for all others, as a server may still touch it.</summary>
    /// <param name="slot">Its slot, which is free.</param>
    /// <param name="errno">A negative errno.</param>
    public void Decline(uint slot, int errno)
    {
        if (_table[slot].Elsewhere) _completions.Abandon(slot, errno);
        else _completions.Complete(slot, errno);
    }

    /// <summary>Takes packets of the response channel, in private memory.</summary>
    /// <param name="responses">The packets.</param>
    /// <param name="now">Milliseconds of a clock that does not go back.</param>
    public void Receive(ReadOnlySpan<Response> responses, long now)
    {
        foreach (ref readonly Response response in responses)
        {
            uint slot = response.Tag & SlotMask;
            if (State == SessionState.Ready && slot < (uint)_table.Length) ReceiveAnswer(response, slot);
            else if (State == SessionState.Greeting && response.Tag == _questionTag) ReceiveQuestion(response, now);
            else if (State == SessionState.Ready && !ReceiveSize(response, now)) Stray(response);
        }
    }

    /// <summary>The response channel has begun a new epoch: another run of the server, or the first.</summary>
    /// <param name="now">Milliseconds.</param>
    public void ServerAppeared(long now) => Greet(now);

    /// <summary>The response channel is inactive, or not a channel of ours: nobody is there.</summary>
    public void ServerLeft()
    {
        if (State != SessionState.Refused) Become(SessionState.Waiting);
    }

    /// <summary>
    /// Data in the buffer is lost: I/O fails, nothing is written, until <see cref="MemoryReturned"/>. The server may still carry out what it was
    /// sent, and touch the slots of that in the memory that comes back: they are given up (I2).
    /// </summary>
    public void MemoryLost()
    {
        Become(SessionState.Refused);
        GiveUpAll();
    }

    /// <summary>The buffer can be used again. The server is waited for.</summary>
    public void MemoryReturned() => Become(SessionState.Waiting);

    /// <summary>Lets time pass.</summary>
    /// <param name="now">Milliseconds.</param>
    public void Tick(long now)
    {
        Now = now;
        if (now >= _nextLook) Look();
        if (State == SessionState.Ready) LookAfterSizes(now);
        if (State != SessionState.Greeting || now < _questionDeadline) return;
        if (_awaitsOthers)
        {
            FinishGreeting(now);
            return;
        }

        if (_handshake.Question == RequestKind.Features)
        {
            // A plain muenblock 2.0 server. Should its answer come after all, its tag is no longer asked for.
            _handshake.Answer((ulong)PeerFeatures.None);
            Ask(now);
            return;
        }

        _events.NoAnswer(_handshake.Question, _handshake.Device);
        Greet(now);
    }

    private void Fail()
    {
        Become(SessionState.Refused);
        for (uint slot = 0; slot < (uint)_table.Length; slot++)
        {
            // The server has answered a Reset: no slot is its own any more.
            _table[slot].Elsewhere &= _table[slot].Kind == RequestKind.None;
            if (_table[slot].Kind != RequestKind.None) End(slot, ref _table[slot], -Eio);
        }
    }

    private void Replay()
    {
        int count = 0;
        for (uint slot = 0; slot < (uint)_table.Length; slot++)
        {
            if (_table[slot].Kind != RequestKind.None) _replay[count++] = (_table[slot].Order, slot);
        }

        _replay.AsSpan(0, count).Sort();
        foreach ((_, uint slot) in _replay.AsSpan(0, count)) Send(slot, ref _table[slot]);
        Replayed += (ulong)count;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Send(uint slot, ref InFlight entry)
    {
        if (_serverMerges && entry.BufferOffset != slot * _slotSize)
        {
            // What such a server would merge is known of slots alone. It has answered a Reset: the slot is the kernel's again.
            entry.Elsewhere = false;
            End(slot, ref entry, -Eio);
            return;
        }

        // What one server had to be spared of may be sent to its successor, and is then waited for.
        entry.Held = _serverMerges && MustWait(slot, entry);
        if (entry.Held) return;

        if (entry.Elsewhere) Return(slot, ref entry);
        entry.Tag += 1u << SlotBits;
        entry.Sent = true;
        _requests.Send(new Request
        {
            Kind = entry.Kind,
            Device = entry.Device,
            Tag = entry.Tag,
            Length = entry.Length,
            DeviceOffset = _unit == OffsetUnit.Sectors ? entry.Offset >> SectorShift : entry.Offset,
            BufferOffset = entry.Kind is RequestKind.Read or RequestKind.Write ? entry.BufferOffset : 0,
        });
    }

    private void ReceiveAnswer(in Response response, uint slot)
    {
        ref InFlight entry = ref _table[slot];
        if (entry.Kind == RequestKind.None || entry.Held || entry.Tag != response.Tag || entry.Kind != response.Kind || entry.Device != response.Device)
        {
            Stray(response);
            return;
        }

        int errno = StatusErrno.ToErrno(response.Status);
        int done = entry.Kind is RequestKind.Read or RequestKind.Write ? (int)entry.Length : 0;
        End(slot, ref entry, errno == 0 ? done : -errno);
    }

    private void End(uint slot, ref InFlight entry, int result)
    {
        if (entry.Stalled) _events.StallEnded(entry, Now - entry.Since, result);
        entry.Kind = RequestKind.None;
        entry.Held = false;
        Count--;
        _completions.Complete(slot, result);
        if (_serverMerges && !_lost && State == SessionState.Ready) SendHeldNeighbours(slot);
    }

    private void Stray(in Response response)
    {
        Strays++;
        _events.Stray(response);
    }
}
