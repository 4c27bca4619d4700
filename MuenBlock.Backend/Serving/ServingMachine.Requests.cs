using MuenBlock.Backend.Disks;
using MuenBlock.Protocol.Messages;

namespace MuenBlock.Backend.Serving;

/// <content>Requests by their kind: what each is checked for, in private memory (I3), and how it is answered or begun.</content>
internal sealed partial class ServingMachine<TDisks, TResponses>
{
    private void Handle(in Request request)
    {
        if (!_open && request.Kind != RequestKind.Reset)
        {
            // Left over from a session with an earlier run of this server, whose buffer may have changed since: the client repeats it.
            return;
        }

        if (request.Device >= _devices.Length)
        {
            if (AnswersWithStatus(request.Kind)) _complaints.Broken(RequestRule.DeviceExists, request);
            Answer(request, AnswersWithStatus(request.Kind) ? (ulong)Status.NotSupported : Unknown);
            return;
        }

        ServedDevice device = _devices[request.Device];
        switch (request.Kind)
        {
            case RequestKind.Read:
                HandleTransfer(request, device);
                break;
            case RequestKind.Write or RequestKind.Discard when device.IsReadOnly:
                Refuse(request, RequestRule.DeviceIsWritable);
                break;
            case RequestKind.Write:
                HandleTransfer(request, device);
                break;
            case RequestKind.Discard:
                HandleDiscard(request, device);
                break;
            case RequestKind.Sync:
                HandleSync(request, device);
                break;
            case RequestKind.Reset:
                AnswerWatch();
                _reset = request;
                _resetPending = true;
                break;
            case RequestKind.GetSmart:
                HandleSmart(request, device);
                break;
            case RequestKind.MediaBlocks:
                Answer(request, device.Size / device.BlockLength);
                break;
            case RequestKind.BlockLength:
                Answer(request, device.BlockLength);
                break;
            case RequestKind.MaxRequests:
                Answer(request, (ulong)_slots.Length);
                break;
            case RequestKind.MaxBlocksCount:
                Answer(request, RequestRules.MostBlocks);
                break;
            case RequestKind.MaxDevices:
                if (_resumed) _unconfirmed = request;
                Answer(request, (ulong)_devices.Length);
                break;
            case RequestKind.Features:
                ClientFeatures = (PeerFeatures)request.Length;
                Answer(request, (ulong)_features);
                break;
            case RequestKind.Traits:
                Answer(request, (ulong)device.Traits);
                break;
            case RequestKind.Identity:
                Answer(request, device.Identity);
                break;
            case RequestKind.Watch:
                HandleWatch(request);
                break;
            default:
                _complaints.Broken(RequestRule.KindIsKnown, request);
                Answer(request, AnswersWithStatus(request.Kind) ? (ulong)Status.NotSupported : Unknown);
                break;
        }
    }

    private void HandleTransfer(in Request request, ServedDevice device)
    {
        RequestRule rule = RequestRules.CheckTransfer(request, device, _unit, _bufferLength, out ulong offset);
        if (rule != RequestRule.Kept)
        {
            Refuse(request, rule);
            return;
        }

        uint slot = Take(request);
        ref Slot entry = ref _slots[slot];
        entry.Offset = offset;
        entry.BufferOffset = request.BufferOffset;
        entry.Remaining = request.Length;
        if (request.Kind == RequestKind.Write)
        {
            device.Writes++;
            entry.Order = ++device.Order;
        }

        Transfer(slot, ref entry);
    }

    private void HandleDiscard(in Request request, ServedDevice device)
    {
        if (!device.CanDiscard)
        {
            Answer(request, (ulong)Status.NotSupported);
            return;
        }

        RequestRule rule = RequestRules.CheckRange(request, device, _unit, out ulong offset);
        if (rule != RequestRule.Kept)
        {
            Refuse(request, rule);
            return;
        }

        uint slot = Take(request);
        ref Slot entry = ref _slots[slot];
        entry.Offset = offset;
        entry.Remaining = request.Length;
        device.Writes++;
        entry.Order = ++device.Order;
        Start(slot, ref entry);
    }

    private void HandleSmart(in Request request, ServedDevice device)
    {
        if (!device.HasSmart)
        {
            Answer(request, (ulong)SmartStatus.Undefined);
            return;
        }

        RequestRule rule = RequestRules.CheckBuffer(request.BufferOffset, SmartCommands.PageSize, device, _bufferLength);
        if (rule != RequestRule.Kept)
        {
            _complaints.Broken(rule, request);
            Answer(request, (ulong)SmartStatus.Failure);
            return;
        }

        _disks.ReadSmart(Take(request), request.Device, request.BufferOffset);
    }

    private void HandleSync(in Request request, ServedDevice device)
    {
        uint slot = Take(request);
        ref Slot entry = ref _slots[slot];
        entry.Order = ++device.Order;
        entry.Awaited = device.Writes;
        if (entry.Awaited == 0)
        {
            Start(slot, ref entry);
            return;
        }

        entry.Next = device.WaitingSyncs;
        device.WaitingSyncs = (int)slot;
    }
}
