using MuenBlock.Protocol.Messages;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Fuzz;

/// <summary>
/// The client's session with a server that answers anything, comes, goes and keeps silent. After each step the design's invariants are
/// looked for: an I/O ends once, in full or with an errno, and no slot is the kernel's while the server may touch it.
/// </summary>
internal static class SessionHarness
{
    private const int Slots = 6;
    private const ulong SlotSize = 8192;
    private const ulong Blocks = 1000;
    private const uint Question = 0xffff; // the slot of a question's tag
    private const uint Watch = 0xfffe; // and of a Watch's

    public static void Run(ReadOnlySpan<byte> input)
    {
        var script = new Input(input);
        new World(script.Byte(), script.Byte()).Run(script);
    }

    /// <summary>A slot as the kernel and the server see it.</summary>
    private struct Place
    {
        public RequestKind Kind; // None while no I/O is there
        public uint Length;
        public ulong Offset;
        public uint Tag;
        public bool IsServers; // a request for it was sent and neither answered nor ended by a Reset
        public bool IsElsewhere; // the kernel's next I/O has its data in another place
    }

    private sealed class World : ISessionEvents
    {
        private readonly Place[] _places = new Place[Slots];
        private readonly OffsetUnit _unit;
        private readonly SessionMachine<Requests, Completions> _session;
        private readonly List<Request> _sent = [];
        private readonly PeerFeatures _features;
        private Request _question;
        private Request _watch; // None while there is none
        private ulong _promised;
        private long _now;
        private int _ended;
        private int _submitted;

        public World(byte kind, byte seed)
        {
            _unit = (kind & 1) == 0 ? OffsetUnit.Bytes : OffsetUnit.Sectors;
            _session = new SessionMachine<Requests, Completions>(_unit, PeerFeatures.Agrees, seed << 24, this, new Requests(this), new Completions(this))
            {
                Patience = (kind & 2) == 0 ? Patience.Endless : new Patience(1_000, 300),
                Grows = (kind & 8) == 0,
            };
            _features = (kind & 4) == 0 ? PeerFeatures.None : PeerFeatures.Agrees | PeerFeatures.Traits | PeerFeatures.Identity | PeerFeatures.Watch;
        }

        public void Run(Input script)
        {
            Greet();
            _session.Prepare(Slots, SlotSize);
            while (!script.AtEnd)
            {
                switch (script.Below(16))
                {
                    case < 5:
                        Submit(ref script);
                        break;
                    case < 9:
                        Receive(AnyResponse(ref script));
                        break;
                    case < 11:
                        if (_sent.Count > 0) Receive(Answer(_sent[script.Below(_sent.Count)], 0));
                        break;
                    case 11:
                        Receive(Answer(_question, Truth(_question.Kind)));
                        break;
                    case 14:
                        if (script.Below(2) == 0) _session.AskSizes(_now);
                        else if (_watch.Kind != RequestKind.None) Receive(Answer(_watch, script.UInt64()));
                        break;
                    case 12:
                        _session.ServerAppeared(_now);
                        break;
                    case 13:
                        ComeOrGo(script.Below(4));
                        break;
                    default:
                        _session.Tick(_now += script.UInt16() % 3_000);
                        break;
                }

                Check();
            }

            Finish();
        }

        private void ComeOrGo(int what)
        {
            if (what == 0) _session.ServerLeft();
            else if (what == 1) Greet();
            else if (what == 2) _session.MemoryLost();
            else if (_session.State == SessionState.Refused) _session.MemoryReturned();
        }

        void ISessionEvents.Ready(PeerFeatures serverFeatures, ulong replayed)
        {
        }

        void ISessionEvents.Refused(string rule) => Rules.Require(rule.Length > 0 && !rule.Contains('\n', StringComparison.Ordinal), "a rule is named in a line");

        void ISessionEvents.NoAnswer(RequestKind question, ushort device)
        {
        }

        void ISessionEvents.Stray(in Response response)
        {
        }

        /// <summary>A server appears that answers every question as it should.</summary>
        private void Greet()
        {
            _session.ServerAppeared(_now);
            for (int i = 0; _session.State == SessionState.Greeting; i++)
            {
                const int more = 10;
                Rules.Require(i < more, "a handshake ends");
                Receive(Answer(_question, Truth(_question.Kind)));
            }
        }

        private void Finish()
        {
            Greet();
            Rules.Require(_session.State is SessionState.Ready or SessionState.Refused, "a good server ends the handshake");
            while (_sent.Count > 0) Receive(Answer(_sent[0], 0));
            Check();
            Rules.Require(_session.Count == 0 && _ended == _submitted, $"{_submitted} I/Os were submitted and {_ended} ended");
        }

        private void Check()
        {
            int busy = _places.Count(place => place.Kind != RequestKind.None);
            Rules.Require(_session.Count == busy, $"{busy} I/Os have not ended, and {_session.Count} are counted");
            Rules.Require(_sent.Count <= Slots, "no more is unanswered than the channel holds");
            foreach (DeviceGeometry device in _session.Devices) Rules.Require(device.Blocks == 0 || device.Size is > 0 and <= long.MaxValue, "a size is one that Linux can count");
            if (_session.Devices.Length == 0) return;
            Rules.Require(_session.Devices[0].Blocks >= _promised, "a device does not shrink");
            _promised = _session.Devices[0].Blocks;
        }

        private void Submit(ref Input script)
        {
            uint slot = (uint)script.Below(Slots);
            ref Place place = ref _places[slot];
            if (place.Kind != RequestKind.None) return;
            place.Kind = (RequestKind)(1 + script.Below(4));
            place.Length = place.Kind == RequestKind.Sync ? 0 : 512u * (1u + (uint)script.Below(16));
            place.Offset = 512ul * script.Byte();
            _submitted++;
            _session.Submit(slot, place.Kind, 0, place.Offset, place.Length);
        }

        private void Receive(Response response)
        {
            // By what it answers a server says that it is done with a slot, or with all of them.
            uint slot = response.Tag & Question;
            if (slot < Slots && response.Tag == _places[slot].Tag && _session.State == SessionState.Ready && _places[slot].Kind == response.Kind && response.Device == 0)
                _places[slot].IsServers = false;
            if (_session.State == SessionState.Greeting && response.Tag == _question.Tag && _question.Kind == RequestKind.Reset
                && response is { Kind: RequestKind.Reset, Device: 0, Status: 0 })
            {
                foreach (ref Place place in _places.AsSpan()) place.IsServers = false;
            }

            if (response.Tag == _watch.Tag && response is { Kind: RequestKind.Watch, Device: 0 }) _watch.Kind = RequestKind.None;
            _ = _sent.RemoveAll(request => request.Tag == response.Tag && request.Kind == response.Kind && request.Device == response.Device);
            _session.Receive([response], _now);
        }

        /// <summary>Anything, or nearly an answer to what was asked.</summary>
        private Response AnyResponse(ref Input script)
        {
            int shape = script.Byte();
            Request asked = (shape & 1) == 0 || _sent.Count == 0 ? _question : _sent[script.Below(_sent.Count)];
            Response response = Answer(asked, (shape & 2) == 0 ? script.Byte() : script.UInt64());
            if ((shape & 4) != 0) response.Kind = (RequestKind)script.UInt16();
            if ((shape & 8) != 0) response.Device = script.UInt16();
            if ((shape & 16) != 0) response.Tag ^= 1u << script.Below(32);
            if ((shape & 32) != 0) response.Tag = script.UInt32();
            return response;
        }

        private static Response Answer(in Request request, ulong status) =>
            new() { Kind = request.Kind, Device = request.Device, Tag = request.Tag, Status = status };

        private ulong Truth(RequestKind question) => question switch
        {
            RequestKind.Features => (ulong)_features,
            RequestKind.Watch => 1,

            // Whatever was said of it first, it is that disk.
            RequestKind.Identity => _session.Devices.Length == 0 ? 1 : _session.Devices[0].Identity,
            RequestKind.MaxDevices => 1,
            RequestKind.MediaBlocks => Blocks,
            RequestKind.BlockLength => 512,
            RequestKind.MaxBlocksCount => 256,
            _ => 0,
        };

        private void CheckSent(in Request request)
        {
            uint slot = request.Tag & Question;
            if (slot == Question)
            {
                Rules.Require(request.Tag != _question.Tag, "a question has a tag of its own");
                _question = request;
                return;
            }

            if (slot == Watch)
            {
                Rules.Require(_watch.Kind == RequestKind.None && request.Tag != _watch.Tag, "there is one Watch at a time, with a tag of its own");
                _watch = request;
                return;
            }

            Rules.Require(slot < Slots, $"a request's slot is one of the table, not {slot}");
            ref Place place = ref _places[slot];
            Rules.Require(place.Kind == request.Kind && request.Device == 0 && request.Length == place.Length, "what is sent was submitted");
            Rules.Require(request.DeviceOffset * (_unit == OffsetUnit.Sectors ? 512u : 1u) == place.Offset, "it is sent to where it belongs");
            Rules.Require(request.BufferOffset == (request.Kind is RequestKind.Read or RequestKind.Write ? slot * SlotSize : 0), "it has its slot");
            Rules.Require(!place.IsServers, "a slot has one request that the server knows");
            Rules.Require(!place.IsElsewhere, "what is sent has its data in the slot");
            Rules.Require(place.Tag != request.Tag, "a repeat has a tag of its own");
            Rules.Require(_session.State == SessionState.Ready, "I/O is sent in a session");
            place.Tag = request.Tag;
            place.IsServers = true;
            _sent.Add(request);
        }

        private void CheckEnd(uint slot, int result, bool elsewhere)
        {
            ref Place place = ref _places[slot];
            Rules.Require(place.Kind != RequestKind.None, $"slot {slot} ended although it was free");
            int full = place.Kind is RequestKind.Read or RequestKind.Write ? (int)place.Length : 0;
            Rules.Require(result == full || result is < 0 and > -4096, $"{place.Kind} of {place.Length} bytes ended with {result}");
            Rules.Require(elsewhere || !place.IsServers, $"slot {slot} was given back to the kernel while the server may touch it");
            Rules.Require(!elsewhere || result < 0, "what is given up has failed");
            place.IsElsewhere = elsewhere;
            place.Kind = RequestKind.None;
            _ = _sent.RemoveAll(request => (request.Tag & Question) == slot);
            _ended++;
        }

        private readonly struct Requests(World world) : IRequestQueue
        {
            public void Send(in Request request) => world.CheckSent(request);

            public void Restart()
            {
                world._sent.Clear();
                world._watch.Kind = RequestKind.None;
            }
        }

        private readonly struct Completions(World world) : IBlockCompletions
        {
            public void Complete(uint slot, int result) => world.CheckEnd(slot, result, elsewhere: false);

            public void Abandon(uint slot, int errno) => world.CheckEnd(slot, errno, elsewhere: true);

            public void Restore(uint slot, uint length)
            {
                ref Place place = ref world._places[slot];
                Rules.Require(place.IsElsewhere && !place.IsServers, $"slot {slot} gets back what lies elsewhere, and the server does not touch it");
                Rules.Require(length == (place.Kind == RequestKind.Write ? place.Length : 0), "as much as was written elsewhere comes back");
                place.IsElsewhere = false;
            }
        }
    }
}
