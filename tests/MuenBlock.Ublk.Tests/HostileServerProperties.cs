using CsCheck;
using MuenBlock.Protocol.Messages;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Tests;

/// <summary>The client's session with a server that does anything, step by random step; a seed that fails is printed by CsCheck.</summary>
public sealed class HostileServerProperties
{
    private const int Slots = 12;
    private const ulong SlotSize = 8192;
    private const ulong Blocks = 1000;

    // What can be counted lies between nothing and everything; these are the ends and their neighbours.
    private static readonly ulong[] s_values =
        [0, 1, 2, 10, 11, 255, 256, 257, 511, 512, 513, 999, 1000, 1001, 4096, 65536, 1ul << 31, 1ul << 32, 1ul << 54, 1ul << 55, long.MaxValue, 1ul << 63, ulong.MaxValue - 511, ulong.MaxValue];

    [Fact]
    public void Whatever_a_server_does_an_IO_ends_at_most_once_in_full_or_with_an_errno_and_a_good_server_after_it_answers_all() =>
        Gen.Int[0, int.MaxValue].Sample(seed => new World(seed).Run(steps: 300), iter: 2000);

    private sealed class World : ISessionEvents
    {
        private readonly Random _random;
        private readonly PeerFeatures _features;
        private readonly List<Request> _sent = [];
        private readonly Dictionary<uint, (RequestKind Kind, uint Length)> _submitted = [];
        private readonly SessionMachine<Requests, Completions> _session;
        private long _now;

        public World(int seed)
        {
            _random = new Random(seed);
            _features = _random.Next(2) == 0 ? PeerFeatures.None : PeerFeatures.Agrees | PeerFeatures.Traits | PeerFeatures.Identity | PeerFeatures.Watch;
            _session = new SessionMachine<Requests, Completions>(OffsetUnit.Sectors, PeerFeatures.Agrees, seed, this, new Requests(this), new Completions(this));
        }

        public void Run(int steps)
        {
            Greet();
            _session.Prepare(Slots, SlotSize);
            for (int i = 0; i < steps; i++)
            {
                switch (_random.Next(12))
                {
                    case < 4:
                        Submit();
                        break;
                    case < 9:
                        _session.Receive([.. Enumerable.Range(0, _random.Next(4)).Select(_ => AnyResponse())], _now);
                        break;
                    case 9 when _random.Next(4) == 0:
                        _session.ServerAppeared(_now);
                        break;
                    case 10 when _random.Next(8) == 0:
                        _session.ServerLeft();
                        break;
                    case 11 when _random.Next(4) == 0:
                        _session.AskSizes(_now);
                        break;
                    default:
                        _session.Tick(_now += _random.Next(3000));
                        break;
                }

                // I1: a channel of so many packets, and those of the questions, never overruns.
                Assert.InRange(_session.Count, 0, Slots);
                Assert.True(_sent.Count <= Slots + SessionMachine<Requests, Completions>.Questions, $"{_sent.Count} requests unanswered");
            }

            Greet();
            foreach (Request request in Taken()) Answer(request, 0);
            Assert.Empty(_submitted);
            Assert.Equal(0, _session.Count);
        }

        void ISessionEvents.Ready(PeerFeatures serverFeatures, ulong replayed)
        {
        }

        void ISessionEvents.Refused(string rule) => Assert.Matches("^(device [0-9]+: )?[A-Z][A-Za-z0-9]+: ", rule);

        void ISessionEvents.NoAnswer(RequestKind question, ushort device)
        {
        }

        void ISessionEvents.Stray(in Response response)
        {
        }

        private void Greet()
        {
            _session.ServerAppeared(_now);
            while (_session.State == SessionState.Greeting)
            {
                Request request = Assert.Single(Taken());
                Answer(request, request.Kind switch
                {
                    RequestKind.MaxDevices => 1,
                    RequestKind.MediaBlocks => Math.Max(Blocks, _session.Devices.Length == 0 ? 0 : _session.Devices[0].Blocks),
                    RequestKind.BlockLength => 512,
                    RequestKind.MaxBlocksCount => 256,
                    RequestKind.Features => (ulong)_features,
                    RequestKind.Identity => _session.Devices.Length == 0 ? 1 : _session.Devices[0].Identity,
                    _ => 0,
                });
            }

            Assert.Equal(SessionState.Ready, _session.State);
        }

        private void Submit()
        {
            uint slot = (uint)_random.Next(Slots);
            if (_submitted.ContainsKey(slot)) return;
            RequestKind kind = (RequestKind)_random.Next((int)RequestKind.Read, (int)RequestKind.Sync + 1);
            uint length = kind == RequestKind.Sync ? 0 : 512u * (uint)_random.Next(1, 16);
            _submitted.Add(slot, (kind, length));
            _session.Submit(slot, kind, 0, 512ul * (ulong)_random.Next(900), length);
        }

        /// <summary>Nearly an answer to something that was asked, or anything at all.</summary>
        private Response AnyResponse()
        {
            var response = new Response
            {
                Kind = (RequestKind)_random.Next(0x25),
                Device = (ushort)_random.Next(3),
                Tag = (uint)_random.NextInt64(1L << 32),
                Status = s_values[_random.Next(s_values.Length)],
            };
            if (_sent.Count == 0 || _random.Next(6) == 0) return response;
            int index = _random.Next(_sent.Count);
            Request asked = _sent[index];
            if (_random.Next(3) != 0) _sent.RemoveAt(index);
            return new Response
            {
                Kind = _random.Next(8) == 0 ? response.Kind : asked.Kind,
                Device = _random.Next(8) == 0 ? response.Device : asked.Device,
                Tag = _random.Next(8) == 0 ? asked.Tag ^ (1u << _random.Next(32)) : asked.Tag,
                Status = _random.Next(2) == 0 ? response.Status : 0,
            };
        }

        private List<Request> Taken()
        {
            List<Request> taken = [.. _sent];
            _sent.Clear();
            return taken;
        }

        private void Answer(in Request request, ulong status) =>
            _session.Receive([new Response { Kind = request.Kind, Device = request.Device, Tag = request.Tag, Status = status }], _now);

        internal readonly struct Requests(World world) : IRequestQueue
        {
            public void Send(in Request request)
            {
                if (request.Kind is RequestKind.Read or RequestKind.Write)
                {
                    Assert.Equal(0ul, request.BufferOffset % SlotSize);
                    Assert.True(request.BufferOffset / SlotSize < Slots && request.Length <= SlotSize);
                }

                uint slot = request.Tag & 0xffff;
                world._sent.RemoveAll(other => (other.Tag & 0xffff) == slot);
                world._sent.Add(request);
            }

            public void Restart() => world._sent.Clear();
        }

        internal readonly struct Completions(World world) : IBlockCompletions
        {
            public void Complete(uint slot, int result)
            {
                Assert.True(world._submitted.Remove(slot, out (RequestKind Kind, uint Length) io), $"slot {slot} ended although it was free");
                int full = io.Kind is RequestKind.Read or RequestKind.Write ? (int)io.Length : 0;
                Assert.True(result == full || (result < 0 && result > -4096), $"{io.Kind} of {io.Length} bytes ended with {result}");
            }

            public void Abandon(uint slot, int errno) => Assert.Fail("nothing is given up without a time-out");

            public void Restore(uint slot, uint length) => Assert.Fail("nothing was given up");
        }
    }
}
