using Microsoft.Extensions.Logging.Abstractions;
using MuenBlock.Backend.Disks;
using MuenBlock.Backend.Serving;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;

namespace MuenBlock.Fuzz;

/// <summary>
/// The serving machine with a client that asks for anything and disks that answer with anything. After each step the design's
/// invariants are looked for: answers match requests, each request has one, what is done is allowed and all that is allowed is done.
/// </summary>
internal static class ServingHarness
{
    private const int Capacity = 6;
    private const int Batch = 4;
    private const ulong BufferLength = 64 << 10;

    public static void Run(ReadOnlySpan<byte> input)
    {
        var script = new Input(input);
        new World(script.Byte()).Run(script);
    }

    /// <summary>A request of the present session, and what must come of it.</summary>
    private sealed class Asked(Request request, bool isAllowed)
    {
        public Request Request { get; } = request;

        /// <summary>Whether the disk is to be asked.</summary>
        public bool IsAllowed { get; } = isAllowed;

        public bool IsStarted { get; set; }
    }

    private sealed class World
    {
        private readonly ServedDevice[] _devices;
        private readonly OffsetUnit _unit;
        private readonly FuzzedDisks _disks;
        private readonly ServingMachine<Queue, Answers> _machine;
        private readonly List<Asked> _asked = []; // in the order in which they were sent
        private readonly Queue<Request> _channel = new();
        private uint _serial;
        private bool _sawReset;
        private bool _open;

        public World(byte kind)
        {
            const DeviceTraits traits = DeviceTraits.Known | DeviceTraits.Discard;
            _devices =
            [
                new ServedDevice(32 << 10, 512, traits),
                new ServedDevice(1ul << 40, 4096, traits, hasSmart: true),
                new ServedDevice(32 << 10, 512, traits | DeviceTraits.ReadOnly),
                new ServedDevice((ulong)long.MaxValue & ~511ul, 512, DeviceTraits.Known),
            ];
            _unit = (kind & 1) == 0 ? OffsetUnit.Bytes : OffsetUnit.Sectors;
            _disks = new FuzzedDisks(_devices, BufferLength, Capacity, CheckStart);
            _machine = new ServingMachine<Queue, Answers>(
                _devices,
                _unit,
                BufferLength,
                Capacity,
                Batch,
                PeerFeatures.Agrees | PeerFeatures.Traits | PeerFeatures.Watch,
                new Complaints(NullLogger.Instance, 1),
                new Queue(_disks),
                new Answers(this))
            {
                Stalls = new StallLog(NullLogger.Instance, 1, () => ""),
                StallMilliseconds = 100,
            };
        }

        public void Run(Input script)
        {
            if (script.Below(8) != 0) Ask(new Request { Kind = RequestKind.Reset });
            while (!script.AtEnd)
            {
                switch (script.Below(16))
                {
                    case < 6:
                        Ask(AnyRequest(ref script));
                        break;
                    case < 9:
                        Accept();
                        break;
                    case 9:
                        BeginSession();
                        break;
                    case 10:
                        _machine.Now += script.UInt16();
                        _machine.Tick();
                        if (_machine.Now % 4 == 0) Grow();
                        break;
                    default:
                        if (_disks.Pending > 0) _disks.End(script.Below(_disks.Pending), AnyResult(ref script), _machine.Complete);
                        break;
                }

                Check();
            }

            Finish();
        }

        private void Finish()
        {
            // Whatever was, a disk that does what it should ends it all.
            do
            {
                while ((_channel.Count > 0 && !_machine.Inbox.IsEmpty) || _disks.Pending > 0)
                {
                    Accept();
                    if (_disks.Pending > 0) _disks.End(0, int.MaxValue, _machine.Complete);
                    Check();
                }

                const int longerThanPauses = 1_000;
                _machine.Now += longerThanPauses;
                _machine.Tick();
            }
            while (_channel.Count > 0 || _disks.Pending > 0);

            Grow();
            Rules.Require(_machine.UnderWay == 0, "in the end nothing is under way");
            Rules.Require(_asked.Count == 0, $"{_asked.Count} requests were not answered");
            foreach (ServedDevice device in _devices) Rules.Require(device is { WaitingSyncs: -1, Writes: 0 }, "in the end no Sync and no write is left");
        }

        /// <summary>The first disk grows. While requests wait in the machine nobody can say which of them that is in time for.</summary>
        private void Grow()
        {
            if (_machine.Inbox.IsEmpty) return;
            ulong size = Math.Min(_devices[0].Size + 4096, 1 << 20);
            _machine.Resize(0, size);
            Rules.Require(!_asked.Exists(asked => asked.Request.Kind == RequestKind.Watch && asked.Request.Device < _devices.Length), "who watches is told of a size that changes");
        }

        private void Ask(Request request)
        {
            // Tags are the client's own; here they tell requests apart.
            const int most = 2 * Capacity;
            if (_channel.Count >= most) return;
            request.Tag = (request.Tag << 16) | (++_serial & 0xffff);
            _channel.Enqueue(request);
        }

        private void Accept()
        {
            int count = Math.Min(_machine.Inbox.Length, _channel.Count);
            if (count == 0) return;
            for (int i = 0; i < count; i++)
            {
                Request request = _machine.Inbox[i] = _channel.Dequeue();
                bool resets = request.Kind == RequestKind.Reset;
                if (!_sawReset && !resets) continue; // of a session before this server's
                _sawReset |= resets && request.Device < _devices.Length;
                _asked.Add(new Asked(request, IsAllowed(request)));
            }

            _machine.Accept(count);
        }

        private void BeginSession()
        {
            _machine.BeginSession();
            _channel.Clear();
            _asked.Clear();
            _sawReset = _open = false;
        }

        private void Check()
        {
            Rules.Require(_machine.UnderWay is >= 0 and <= Capacity, "no more is under way than the channel holds");
            Rules.Require(_machine.UnderWay >= _disks.Pending, "what the disk does is under way");
            Rules.Require(_machine.Inbox.Length <= Capacity - _machine.UnderWay, "no more is accepted than can be under way");
        }

        /// <summary>What docs/wire-format.md, "Request and response", allows, in numbers that do not overflow.</summary>
        private bool IsAllowed(in Request request)
        {
            if (request.Device >= _devices.Length) return false;
            ServedDevice device = _devices[request.Device];
            if (request.Kind == RequestKind.Sync) return true;
            if (request.Kind == RequestKind.GetSmart) return device.HasSmart && IsInBuffer(request, device, SmartCommands.PageSize);
            if (request.Kind is not (RequestKind.Read or RequestKind.Write or RequestKind.Discard)) return false;
            if (request.Kind != RequestKind.Read && device.IsReadOnly) return false;
            if (request.Kind == RequestKind.Discard && (device.Traits & DeviceTraits.Discard) == 0) return false;
            UInt128 offset = Offset(request);
            bool onDevice = request.Length > 0 && request.Length % device.BlockLength == 0 && offset % device.BlockLength == 0
                && offset + request.Length <= device.Size && request.Length / device.BlockLength <= RequestRules.MostBlocks;
            return onDevice && (request.Kind == RequestKind.Discard || IsInBuffer(request, device, request.Length));
        }

        private static bool IsInBuffer(in Request request, ServedDevice device, ulong length) =>
            request.BufferOffset % device.BlockLength == 0 && (UInt128)request.BufferOffset + length <= BufferLength;

        private UInt128 Offset(in Request request) => (UInt128)request.DeviceOffset * (_unit == OffsetUnit.Sectors ? 512u : 1u);

        private void CheckStart(DiskOperation operation)
        {
            if (operation.Kind == RequestKind.Sync) return; // it may have waited for long; its answer is looked at
            Asked? asked = _asked.Find(other => !other.IsStarted && other.IsAllowed && IsOf(operation, other.Request));
            Rules.Require(asked is not null, $"{operation} was asked for");
            Rules.Require(_open, $"{operation} belongs to a session that has begun");
            Rules.Require(operation.Kind != RequestKind.Discard || !_disks.KnowsNoDiscard(operation.Device), $"{operation} is spared a disk that has said that it knows no discards");
            asked!.IsStarted = true;
        }

        private bool IsOf(in DiskOperation operation, in Request request) =>
            request.Kind == operation.Kind && request.Device == operation.Device
            && (request.Kind == RequestKind.GetSmart || (Offset(request) == operation.Offset && request.Length == operation.Length))
            && (request.Kind == RequestKind.Discard || request.BufferOffset == operation.BufferOffset);

        private void CheckAnswer(Response response)
        {
            int index = _asked.FindIndex(other => other.Request.Tag == response.Tag);
            Rules.Require(index >= 0, $"tag {response.Tag} was asked, and not answered before");
            Asked asked = _asked[index];
            Request request = asked.Request;
            Rules.Require(request.Kind == response.Kind && request.Device == response.Device, "an answer has the kind and the device of its request");
            bool succeeds = response.Status == 0;
            switch (request.Kind)
            {
                case RequestKind.Read or RequestKind.Write:
                    Rules.Require(asked.IsStarted == asked.IsAllowed, $"what is allowed is done: {request.Kind} at {request.DeviceOffset}, {request.Length} bytes");
                    Rules.Require(asked.IsStarted || !succeeds, "what is not allowed fails");
                    if (succeeds) Rules.Require(_disks.Ending && _disks.Done == request.Length, $"{_disks.Done} of {request.Length} bytes are no success");
                    break;
                case RequestKind.Discard:
                    bool isSpared = _disks.KnowsNoDiscard(request.Device);
                    Rules.Require((asked.IsStarted == asked.IsAllowed || isSpared) && (asked.IsStarted || !succeeds), "a discard is done if it is allowed");
                    break;
                case RequestKind.GetSmart when request.Device < _devices.Length:
                    Rules.Require(
                        asked.IsStarted == asked.IsAllowed && (asked.IsStarted || (SmartStatus)response.Status is SmartStatus.Failure or SmartStatus.Undefined),
                        "SMART data is read if there is any and it has a place");
                    break;
                case RequestKind.Sync when succeeds:
                    Rules.Require(!_asked.Take(index).Any(other => IsWrite(other.Request.Kind) && other.Request.Device == request.Device), "a Sync is answered after the writes before it");
                    break;
                case RequestKind.Reset when request.Device < _devices.Length:
                    Rules.Require(succeeds && _machine.UnderWay == 0 && _disks.Pending == 0, "a Reset is answered when nothing is under way");
                    _open = true;
                    break;
                case RequestKind.Watch when request.Device < _devices.Length:
                    Rules.Require(!succeeds, "changes are counted from 1");
                    break;
                default:
                    break;
            }

            if (_disks.Ending && asked.IsAllowed) _disks.Answered();
            _asked.RemoveAt(index);
        }

        private static bool IsWrite(RequestKind kind) => kind is RequestKind.Write or RequestKind.Discard;

        private Request AnyRequest(ref Input script)
        {
            int shape = script.Byte();
            var request = new Request
            {
                Kind = (shape & 1) == 0 ? (RequestKind)(1 + script.Below(5)) : (RequestKind)script.UInt16(),
                Device = (shape & 2) == 0 ? (ushort)script.Below(_devices.Length) : script.UInt16(),
                Tag = script.Byte(),
            };
            const int block = 4096;
            request.Length = (shape & 4) == 0 ? (ulong)script.Below(17) * block : script.UInt64();
            request.DeviceOffset = (shape & 8) == 0 ? (ulong)script.Below(9) * block : script.UInt64();
            request.BufferOffset = (shape & 16) == 0 ? (ulong)script.Below(17) * block : script.UInt64();
            if ((shape & 32) != 0) request.Length = 512;
            if ((shape & 65) == 64 && request.Kind == RequestKind.GetSmart) request = request with { Kind = RequestKind.Watch, Length = request.Length % 8 };
            if ((shape & 8) == 0 && _unit == OffsetUnit.Sectors) request.DeviceOffset /= 512;
            return request;
        }

        private static int AnyResult(ref Input script) => script.Below(8) switch
        {
            0 or 1 => int.MaxValue,
            2 => 512 * (1 + script.Byte()),
            3 => -script.Byte(), // 125, ECANCELED, among them
            4 => script.Below(2) == 0 ? -4 : -11,
            5 => -95,
            6 => 4096,
            _ => (int)script.UInt32(),
        };

        private readonly struct Queue(FuzzedDisks disks) : IDiskQueue
        {
            public void Read(uint slot, int device, ulong offset, uint length, ulong bufferOffset) =>
                disks.Start(new DiskOperation(RequestKind.Read, slot, device, offset, length, bufferOffset));

            public void Deliver(ulong bufferOffset, uint length) => disks.Deliver(bufferOffset, length);

            public void Write(uint slot, int device, ulong offset, uint length, ulong bufferOffset) =>
                disks.Start(new DiskOperation(RequestKind.Write, slot, device, offset, length, bufferOffset));

            public void Discard(uint slot, int device, ulong offset, ulong length) =>
                disks.Start(new DiskOperation(RequestKind.Discard, slot, device, offset, length, 0));

            public void ReadSmart(uint slot, int device, ulong bufferOffset) =>
                disks.Start(new DiskOperation(RequestKind.GetSmart, slot, device, 0, SmartCommands.PageSize, bufferOffset));

            public bool FallBackToOtherDiscard(int device) => disks.FallBackToOtherDiscard(device);

            public bool EndsBefore(int device, ulong end) => disks.EndsBefore(device, end);

            public void Flush(uint slot, int device) => disks.Start(new DiskOperation(RequestKind.Sync, slot, device, 0, 0, 0));

            public int EndFlush(int device, int result, bool isAnswered) => result;
        }

        private readonly struct Answers(World world) : IResponseQueue
        {
            public void Answer(RequestKind kind, ushort device, uint tag, ulong status) =>
                world.CheckAnswer(new Response { Kind = kind, Device = device, Tag = tag, Status = status });
        }
    }
}
