using MuenBlock.Protocol.Messages;

namespace MuenBlock.Ublk.Session;

/// <content>
/// The handshake: what a server is asked before it gets I/O, and what its answers must be. A server that comes back must have the disks that
/// the kernel was promised, in at least their size.
/// </content>
internal sealed partial class SessionMachine<TRequests, TCompletions>
{
    private void Greet(long now)
    {
        _awaitsOthers = false;
        Become(SessionState.Greeting);
        _handshake.Begin();
        _requests.Restart();
        Ask(now);
    }

    private void Ask(long now)
    {
        _questionTag += 1u << SlotBits;
        bool mayBePlain = _handshake.Question == RequestKind.Features && !KnowsDisks;
        _questionDeadline = now + (mayBePlain ? FeaturesMilliseconds : AnswerMilliseconds);
        var request = new Request { Kind = _handshake.Question, Device = _handshake.Device, Tag = _questionTag };
        if (_handshake.Question == RequestKind.Features) request.Length = (ulong)_features;
        _requests.Send(request);
    }

    private void ReceiveQuestion(in Response response, long now)
    {
        if (response.Kind != _handshake.Question || response.Device != _handshake.Device)
        {
            Stray(response);
            return;
        }

        bool resets = _handshake.Question == RequestKind.Reset;
        _handshake.Answer(response.Status);
        if (resets && _handshake.BrokenRule is null) TrustServer();
        if (_handshake.BrokenRule is { } rule && resets) RefuseReset(rule);
        else if (_handshake.BrokenRule is not null) Refuse(_handshake.BrokenRule);
        else if (_handshake.Done) FinishGreeting(now);
        else Ask(now);
    }

    private void FinishGreeting(long now)
    {
        bool isFirst = _devices.Length == 0;
        if (!isFirst && FindOtherDisk() is { } other)
        {
            // Whoever started the server with a wrong disk, or read-only, corrects that: nothing has failed until then.
            _events.OtherDisk(other);
            Become(SessionState.Waiting);
            return;
        }

        string? rule = isFirst ? LearnDevices() : CompareDevices();
        string? conflict = rule is null ? _joined?.TryBegin(_handshake, _devices) : null;
        if (rule is not null || (isFirst && conflict is not null))
        {
            Refuse(rule ?? conflict!);
            return;
        }

        if (conflict is not null)
        {
            AwaitOthers(conflict, now);
            return;
        }

        if (!isFirst) LearnChanges();

        // Where offsets are bytes the original's servers merge rightly, and servers of ours do not merge.
        _serverMerges = _handshake.ServerFeatures == PeerFeatures.None && _unit == OffsetUnit.Sectors;
        Become(SessionState.Ready);
        _lost = false;
        ulong before = Replayed;
        Replay();
        BeginToWatch(now);
        _events.Ready(_handshake.ServerFeatures, Replayed - before);
    }

    private string? LearnDevices()
    {
        var devices = new DeviceGeometry[_handshake.DeviceCount];
        for (int i = 0; i < devices.Length; i++)
        {
            devices[i] = _handshake.Geometry(i) with { Identity = _handshake.DiskOf(i) };
            if (devices[i].BrokenRule is { } rule) return $"device {i}: {rule}";
        }

        _devices = devices;
        KnowsDisks |= Array.Exists(devices, device => device.Identity != 0);
        return null;
    }

    /// <summary>
    /// A server that comes back must have what the kernel was promised. More is no harm; less would lose data. Of a device that is not served nothing was
    /// promised: a disk may come to a port that had none, and go again.
    /// </summary>
    private string? CompareDevices()
    {
        if (_handshake.DeviceCount != _devices.Length) return $"DevicesStayTheSame: {_handshake.DeviceCount} instead of {_devices.Length}";
        for (int i = 0; i < _devices.Length; i++)
        {
            DeviceGeometry now = _handshake.Geometry(i);
            DeviceGeometry before = _devices[i];
            if (before.Blocks == 0) continue;
            if (now.BlockLength != before.BlockLength) return $"BlockLengthStaysTheSame: device {i} has {now.BlockLength} bytes instead of {before.BlockLength}";
            if (now.Blocks < before.Blocks) return $"SizeDoesNotShrink: device {i} has {now.Blocks} blocks instead of {before.Blocks}";
            if (now.MostBytes < before.MostBytes) return $"RequestsMayStayAsLarge: device {i} takes {now.MostBlocks} blocks instead of {before.MostBlocks}";
        }

        return null;
    }

    /// <summary>What is new of the same disks. Not before it is certain that they are: a session that waits for others may have met a wrong one.</summary>
    private void LearnChanges()
    {
        for (int i = 0; i < _devices.Length; i++)
        {
            if (_devices[i].Blocks == 0) continue;
            LearnSize(i, _handshake.Geometry(i).Blocks);
            if (_handshake.DiskOf(i) is not 0 and ulong disk) _devices[i] = _devices[i] with { Identity = disk };
            KnowsDisks |= _devices[i].Identity != 0;

            // A plain server may have been replaced by one that tells whether it lets its disk be written.
            if ((_devices[i].Traits & DeviceTraits.Known) == 0) _devices[i] = _devices[i] with { Traits = _devices[i].Traits | _handshake.Geometry(i).Traits };
        }
    }

    /// <summary>
    /// A server that comes back must have the disks that it had, and let those be written that could be: what waits to be written would fail. A server that
    /// cannot tell is trusted.
    /// </summary>
    private string? FindOtherDisk()
    {
        for (int i = 0; i < Math.Min(_devices.Length, _handshake.DeviceCount); i++)
        {
            if (_devices[i].Blocks == 0) continue;
            ulong now = _handshake.DiskOf(i);
            if (DiskIdentity.Differ(_devices[i].Identity, now)) return $"DisksStayTheSame: device {i} is disk {now:x16} instead of {_devices[i].Identity:x16}";
            if (_devices[i].IsWritable && _handshake.Geometry(i).IsReadOnly) return $"AccessStaysTheSame: device {i} is read-only, and was not";
        }

        return null;
    }

    private void Refuse(string rule)
    {
        _events.Refused(rule);
        Fail();
    }

    /// <summary>A server that did not end what is under way may touch every slot: none is given back (I2), and all I/O waits for another server.</summary>
    private void RefuseReset(string rule)
    {
        _events.Refused(rule);
        Become(SessionState.Waiting);
    }
}
