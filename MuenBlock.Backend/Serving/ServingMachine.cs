using System.Runtime.CompilerServices;
using MuenBlock.Protocol.Messages;

namespace MuenBlock.Backend.Serving;

/// <summary>
/// What a server does with requests, apart from all system calls: requests and completions go in, I/O and answers come out.
/// <list type="bullet">
/// <item>A request is validated from private memory before any field of it is used (invariant I3).</item>
/// <item>A transfer is answered with success only if all of it was done (I5): what the disk did in part is continued.</item>
/// <item>A Sync goes to the disk only after every write that arrived before it has completed (stronger than I7: an original
/// client may ask for it without waiting for its writes).</item>
/// <item>A session begins with a Reset. What comes before it is not executed.</item>
/// <item>A Reset, or a new epoch of the client, waits until nothing is under way; until then nothing more is accepted (I6).</item>
/// </list>
/// </summary>
/// <typeparam name="TDisks">Where I/O goes. A struct, so that the calls are direct.</typeparam>
/// <typeparam name="TResponses">Where answers go.</typeparam>
internal sealed partial class ServingMachine<TDisks, TResponses>
    where TDisks : struct, IDiskQueue
    where TResponses : struct, IResponseQueue
{
    // The kernel asks for a repeat (EINTR, EAGAIN) only in passing. One that never stops asking is a failure.
    private const byte MostRetries = 100;

    private const ulong Unknown = 0; // the answer to a question that has none (docs/wire-format.md, "Request and response")
    private const ushort FirstQuestion = 0x10; // kinds from here on ask for a value, but for Reset

    private const int Eintr = 4; // asm-generic/errno-base.h
    private const int Eagain = 11;
    private const int Eio = 5;
    private const int Enospc = 28;
    private const int Ecanceled = 125; // asm-generic/errno.h
    private const int Eopnotsupp = 95;

    private readonly ServedDevice[] _devices;
    private readonly OffsetUnit _unit;
    private readonly ulong _bufferLength;
    private readonly PeerFeatures _features;
    private readonly Complaints _complaints;
    private readonly Slot[] _slots;
    private readonly Request[] _inbox;
    private TDisks _disks;
    private TResponses _responses;
    private int _inboxNext;
    private int _inboxCount;
    private int _free;
    private int _underWay;
    private uint _session;
    private bool _draining;
    private bool _open;
    private bool _resetPending;
    private bool _resumed;
    private Request _reset;
    private Request _unconfirmed;

    /// <summary>Creates the machine. Everything that it ever needs is allocated here (I4).</summary>
    /// <param name="devices">The connection's devices; the index is the id.</param>
    /// <param name="unit">What device offsets count.</param>
    /// <param name="bufferLength">The buffer's size in bytes.</param>
    /// <param name="mostUnderWay">How many requests may be under way: at most what the response channel holds (I1).</param>
    /// <param name="batch">How many requests are taken from the channel at a time.</param>
    /// <param name="features">What a client that asks is told of this server.</param>
    /// <param name="complaints">Where broken rules are reported.</param>
    /// <param name="disks">Where I/O goes.</param>
    /// <param name="responses">Where answers go.</param>
    public ServingMachine(
        ServedDevice[] devices,
        OffsetUnit unit,
        ulong bufferLength,
        int mostUnderWay,
        int batch,
        PeerFeatures features,
        Complaints complaints,
        TDisks disks,
        TResponses responses)
    {
        _devices = devices;
        _unit = unit;
        _bufferLength = bufferLength;
        _features = features;
        _complaints = complaints;
        _disks = disks;
        _responses = responses;
        _slots = new Slot[mostUnderWay];
        _inbox = new Request[batch];
        for (int i = 0; i < mostUnderWay; i++) _slots[i].Next = i + 1 < mostUnderWay ? i + 1 : -1;
    }

    /// <summary>Requests whose I/O is under way.</summary>
    public int UnderWay => _underWay;

    /// <summary>Whether a Reset or a new session waits for what is under way.</summary>
    public bool IsDraining => _draining || _resetPending;

    /// <summary>What the client said that it can do; none before it was asked in this session.</summary>
    public PeerFeatures ClientFeatures { get; private set; }

    /// <summary>Requests taken in so far, of all kinds.</summary>
    public ulong Requests { get; private set; }

    /// <summary>
    /// Where the next batch of requests is to be copied to; empty while there is no room, while a Reset waits, or while requests
    /// of the last batch wait behind one. Filled from the front; then <see cref="Accept"/>.
    /// </summary>
    public Span<Request> Inbox =>
        _draining || _resetPending || _inboxNext < _inboxCount ? [] : _inbox.AsSpan(0, Math.Min(_inbox.Length, _slots.Length - _underWay));

    /// <summary>Takes in the requests that were copied to <see cref="Inbox"/>.</summary>
    /// <param name="count">How many.</param>
    public void Accept(int count)
    {
        _inboxNext = 0;
        _inboxCount = count;
        TakeIn();
    }

    /// <summary>
    /// Whether nothing followed a question of the greeting yet, in a session that was begun as a resumed one:
    /// see <see cref="OriginalClient"/>. If nothing does for some time, <see cref="AnswerUnconfirmed"/> is due.
    /// </summary>
    public bool AwaitsConfirmation => _unconfirmed.Kind != RequestKind.None;

    /// <summary>
    /// The client began anew: what is under way is drained without an answer, and nothing is accepted until then (I6).
    /// </summary>
    /// <param name="resumed">
    /// Whether the client may be one that passes over the answer to its Reset, so that this answer is held back.
    /// </param>
    public void BeginSession(bool resumed = false)
    {
        _resumed = resumed;
        _unconfirmed.Kind = RequestKind.None;
        _session++;
        _inboxNext = _inboxCount = 0;
        _resetPending = false;
        ClientFeatures = PeerFeatures.None;
        _watch.Kind = RequestKind.None;
        _draining = _underWay > 0;
        _open = false;
    }

    /// <summary>
    /// Answers the Reset that was held back, or Max_Devices once more: a client that has heard the answer drops the second.
    /// </summary>
    public void AnswerUnconfirmed()
    {
        if (_unconfirmed.Kind == RequestKind.MaxDevices)
        {
            Answer(_unconfirmed, (ulong)_devices.Length);
            return;
        }

        if (AwaitsConfirmation) Answer(_unconfirmed, (ulong)Status.Ok);
        _unconfirmed.Kind = RequestKind.None;
    }

    /// <summary>An I/O has ended.</summary>
    /// <param name="slot">Its slot.</param>
    /// <param name="result">The bytes that were done, or a negative errno; of Get_SMART a <see cref="SmartStatus"/>.</param>
    public void Complete(uint slot, int result)
    {
        ref Slot entry = ref _slots[slot];
        if (entry.Kind == RequestKind.GetSmart)
        {
            Finish(slot, ref entry, (ulong)result);
            return;
        }

        if (GoesOn(slot, ref entry, ref result) || (result < 0 && IsTriedAgain(slot, ref entry, result))) return;
        if (result == -Enospc && _disks.EndsBefore(entry.Device, entry.Offset + entry.Remaining)) result = -Eio;
        if (entry.Kind == RequestKind.Sync) result = _disks.EndFlush(entry.Device, result, isAnswered: entry.Session == _session);
        if (result < 0) Complain(entry, -result);
        Finish(slot, ref entry, (ulong)(result < 0 ? StatusErrno.FromErrno(-result) : Status.Ok));
    }

    /// <summary>Takes note of what a transfer has done. If that was a part, the rest is asked for.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool GoesOn(uint slot, ref Slot entry, ref int result)
    {
        if (entry.Kind is not (RequestKind.Read or RequestKind.Write)) return false;

        // A disk that does nothing and reports no error would be asked for ever.
        if (result == 0) result = -Eio;
        if (result < 0) return false;
        uint done = (uint)Math.Min((uint)result, entry.Remaining);
        if (entry.Kind == RequestKind.Read) _disks.Deliver(entry.BufferOffset, done);
        entry.Offset += done;
        entry.BufferOffset += done;
        entry.Remaining -= done;
        if (entry.Remaining == 0) return false;
        Transfer(slot, ref entry);
        return true;
    }

    /// <summary>Starts again what has not failed for good: at once, after a pause, or in another way.</summary>
    private bool IsTriedAgain(uint slot, ref Slot entry, int result)
    {
        switch (result)
        {
            case -Eintr or -Eagain when entry.Retries++ < MostRetries:
                break;
            case -Ecanceled:
                Pause(ref entry);
                return true;
            case -Eopnotsupp when entry.Kind == RequestKind.Discard && !entry.FellBack && _disks.FallBackToOtherDiscard(entry.Device):
                entry.FellBack = true;
                break;
            default:
                return false;
        }

        Start(slot, ref entry);
        return true;
    }

    private void Complain(in Slot entry, int errno)
    {
        if (errno != Eopnotsupp || entry.Kind != RequestKind.Discard || entry.FellBack)
        {
            _complaints.Failed(entry, errno);
            return;
        }

        // There is no other way, and never will be: a file system makes holes or does not. No disk has failed.
        ServedDevice device = _devices[entry.Device];
        if (device.CanDiscard) _complaints.CannotDiscard(entry.Device);
        device.CanDiscard = false;
    }

    private void TakeIn()
    {
        while (true)
        {
            if (_resetPending)
            {
                if (_underWay > 0) return;
                _resetPending = false;
                _open = true;
                if (_resumed) _unconfirmed = _reset;
                else Answer(_reset, (ulong)Status.Ok);
            }

            if (_inboxNext >= _inboxCount) return;
            Requests++;
            _unconfirmed.Kind = RequestKind.None;
            _resumed &= _inbox[_inboxNext].Kind is RequestKind.Reset or RequestKind.MaxDevices;
            Handle(_inbox[_inboxNext++]);
        }
    }

    private void Start(uint slot, ref Slot entry)
    {
        switch (entry.Kind)
        {
            case RequestKind.Sync:
                _disks.Flush(slot, entry.Device);
                break;
            case RequestKind.Discard:
                _disks.Discard(slot, entry.Device, entry.Offset, entry.Remaining);
                break;
            default:
                Transfer(slot, ref entry);
                break;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Transfer(uint slot, ref Slot entry)
    {
        uint length = (uint)entry.Remaining; // far below 32 bits (RequestRules.MostBlocks)
        if (entry.Kind == RequestKind.Read) _disks.Read(slot, entry.Device, entry.Offset, length, entry.BufferOffset);
        else _disks.Write(slot, entry.Device, entry.Offset, length, entry.BufferOffset);
    }

    private void Finish(uint slot, ref Slot entry, ulong status)
    {
        if (entry.Kind is RequestKind.Write or RequestKind.Discard) ReleaseSyncs(_devices[entry.Device], entry.Order);
        if (entry.Session == _session) _responses.Answer(entry.Kind, entry.Device, entry.Tag, status);
        if (entry.Stalled) StallEnded(entry, status);
        entry.Kind = RequestKind.None;
        entry.Next = _free;
        _free = (int)slot;
        _underWay--;
        if (_underWay > 0) return;
        _draining = false;
        TakeIn();
    }

    /// <summary>A write has ended: the Syncs that came after it wait for one less.</summary>
    private void ReleaseSyncs(ServedDevice device, ulong order)
    {
        device.Writes--;
        int previous = -1;
        for (int i = device.WaitingSyncs; i >= 0;)
        {
            ref Slot sync = ref _slots[i];
            int next = sync.Next;
            if (sync.Order > order && --sync.Awaited == 0)
            {
                if (previous < 0) device.WaitingSyncs = next;
                else _slots[previous].Next = next;
                Start((uint)i, ref sync);
            }
            else
            {
                previous = i;
            }

            i = next;
        }
    }

    private uint Take(in Request request)
    {
        uint slot = (uint)_free;
        ref Slot entry = ref _slots[slot];
        _free = entry.Next;
        _underWay++;
        entry = new Slot { Kind = request.Kind, Device = request.Device, Tag = request.Tag, Session = _session, Since = Now, Next = -1 };
        return slot;
    }

    private void Refuse(in Request request, RequestRule rule)
    {
        _complaints.Broken(rule, request);
        Answer(request, (ulong)Status.IoError);
    }

    private void Answer(in Request request, ulong status) => _responses.Answer(request.Kind, request.Device, request.Tag, status);

    // The answer to a question is a value, in which 1 would mean something. Get_SMART is one of the questions, though it moves data.
    private static bool AnswersWithStatus(RequestKind kind) => kind == RequestKind.Reset || ((ushort)kind < FirstQuestion && kind != RequestKind.GetSmart);
}
