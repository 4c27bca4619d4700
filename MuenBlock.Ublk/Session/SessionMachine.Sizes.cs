using MuenBlock.Protocol.Messages;

namespace MuenBlock.Ublk.Session;

/// <content>
/// Devices that grow while they are used. A server that agreed to it is asked to say when any size has changed (<see cref="RequestKind.Watch"/>), and then
/// for all of them; any other server is asked when somebody wants to know. There is one such question under way at most, and one Watch: both have places
/// of their own in the channels. Of what a server says only a larger size counts. A smaller one would take from the kernel what it was promised.
/// </content>
internal sealed partial class SessionMachine<TRequests, TCompletions>
{
    /// <summary>Packets of either channel that I/O must leave free: for a question, and for a Watch.</summary>
    public const int Questions = 2;

    /// <summary>How soon a server that said that sizes have changed is listened to again.</summary>
    public const long WatchMilliseconds = 1_000;

    private int _asked = -1; // the device whose size is asked for; -1 for none
    private long _askDeadline = long.MaxValue;
    private bool _wanted; // somebody wants to know, and is told when the present round ends
    private bool _wantedNext; // somebody came after it had begun
    private bool _again; // sizes have changed after it had begun
    private ulong _changes;
    private uint _watchTag;
    private bool _watching;
    private long _nextWatch = long.MaxValue;

    /// <summary>Whether the kernel can make devices larger: else what it was promised stays what it was.</summary>
    public bool Grows { get; init; } = true;

    /// <summary>What the kernel was promised, where that is less than a server has.</summary>
    /// <param name="device">The device's id.</param>
    /// <param name="promise">What it was.</param>
    public void Promise(int device, in DevicePromise promise)
    {
        // A device that was taken over may be smaller than the server's, and stays so if it cannot grow.
        if (!Grows) _devices[device] = _devices[device] with { Blocks = promise.Size / _devices[device].BlockLength };
        if (promise.IsReadOnly) _devices[device] = _devices[device] with { Traits = _devices[device].Traits | DeviceTraits.ReadOnly };
    }

    /// <summary>The kernel has no block device of this one: whatever later servers say of it does not matter.</summary>
    /// <param name="device">The device's id.</param>
    public void Skip(int device) => _devices[device] = _devices[device] with { Blocks = 0 };

    private long SizesDeadline => Math.Min(_askDeadline, _nextWatch);

    /// <summary>Asks the server for the sizes of its devices. Ends in <see cref="ISessionEvents.SizesAsked"/>.</summary>
    /// <param name="now">Milliseconds.</param>
    public void AskSizes(long now)
    {
        // Without a server there is nobody to ask; one that owes an answer is not asked for more.
        bool owes = _asked >= 0 && _askDeadline == long.MaxValue;
        if (State != SessionState.Ready || owes)
        {
            _events.SizesAsked(complete: false);
            return;
        }

        _wantedNext = true;
        if (_asked < 0) BeginRound(now);
    }

    private void Become(SessionState state)
    {
        if (state != SessionState.Ready) _joined?.End();
        State = state;
        _asked = -1;
        _askDeadline = _nextWatch = long.MaxValue;
        _watching = _again = false;
        bool wanted = _wanted | _wantedNext;
        _wanted = _wantedNext = false;
        if (wanted) _events.SizesAsked(complete: false);
    }

    private void BeginToWatch(long now)
    {
        if ((_handshake.ServerFeatures & PeerFeatures.Watch) == 0) return;
        _changes = _handshake.Changes;
        _nextWatch = now;
        Watch(now);
    }

    private void LookAfterSizes(long now)
    {
        Watch(now);
        if (now < _askDeadline) return;

        // Its answer may still come: until then its place in the channels is taken.
        _askDeadline = long.MaxValue;
        if (_wanted | _wantedNext) _events.SizesAsked(complete: false);
        _wanted = _wantedNext = false;
    }

    private void Watch(long now)
    {
        if (now < _nextWatch) return;
        _nextWatch = long.MaxValue;
        _watching = true;
        _watchTag += 1u << SlotBits;
        _requests.Send(new Request { Kind = RequestKind.Watch, Tag = _watchTag, Length = _changes });
    }

    private void BeginRound(long now)
    {
        (_wanted, _wantedNext, _again) = (_wantedNext, false, false);
        AskSize(0, now);
    }

    private void AskSize(int device, long now)
    {
        _asked = device;
        _askDeadline = now + AnswerMilliseconds;
        _questionTag += 1u << SlotBits;
        _requests.Send(new Request { Kind = RequestKind.MediaBlocks, Device = (ushort)device, Tag = _questionTag });
    }

    /// <summary>Takes an answer that is not one to an I/O.</summary>
    /// <returns>False if nobody asked for it.</returns>
    private bool ReceiveSize(in Response response, long now)
    {
        if (_watching && response.Tag == _watchTag && response.Kind == RequestKind.Watch && response.Device == 0)
        {
            _watching = false;
            _nextWatch = now + WatchMilliseconds;
            if (response.Status == _changes) return true;
            _changes = response.Status;
            _again = true;
            if (_asked < 0) BeginRound(now);
            return true;
        }

        if (_asked < 0 || response.Tag != _questionTag || response.Kind != RequestKind.MediaBlocks || response.Device != _asked) return false;
        LearnSize(_asked, response.Status);
        if (_asked + 1 < _devices.Length)
        {
            AskSize(_asked + 1, now);
            return true;
        }

        EndRound(now);
        return true;
    }

    private void EndRound(long now)
    {
        _asked = -1;
        _askDeadline = long.MaxValue;
        if (_wanted) _events.SizesAsked(complete: true);
        _wanted = false;
        if (_wantedNext || _again) BeginRound(now);
    }

    private void LearnSize(int device, ulong blocks)
    {
        DeviceGeometry known = _devices[device];

        // Nothing was promised of a device that is not served.
        if (known.Blocks == 0) return;
        string? rule = blocks < known.Blocks ? $"SizeDoesNotShrink: device {device} has {blocks} blocks instead of {known.Blocks}"
            : blocks > DeviceGeometry.MostBlocksOf(known.BlockLength) ? $"SizeFitsInt64: device {device} has {blocks} blocks of {known.BlockLength} bytes"
            : null;
        if (rule is null && Grows) _devices[device] = known with { Blocks = blocks };
        _events.SizeTold(device, blocks, rule);
    }
}
