using CsCheck;
using Microsoft.Extensions.Logging.Abstractions;
using MuenBlock.Backend.Serving;
using MuenBlock.Protocol.Messages;
using Xunit;

namespace MuenBlock.Backend.Tests;

/// <summary>The serving machine with a simulated client and simulated disks, step by random step; a seed that fails is printed by CsCheck.</summary>
public sealed class ServingMachineProperties
{
    private const int BufferLength = 64 << 10;
    private const int DiskSize = 32 << 10;
    private const int Capacity = 12;
    private const int Batch = 5;

    [Fact]
    public void Whatever_clients_and_disks_do_the_invariants_hold() =>
        Gen.Int[0, int.MaxValue].Sample(seed => new World(seed).Run(steps: 300), iter: 2000);

    /// <summary>A client that remembers what it asked, and what it may expect.</summary>
    private sealed class World
    {
        private readonly Random _random;
        private readonly ServedDevice[] _devices;
        private readonly SimulatedDisk _disk;
        private readonly List<Response> _responses = [];
        private readonly Queue<Request> _channel = new();
        private readonly Dictionary<uint, Request> _asked = [];

        private readonly ServingMachine<SimulatedQueue, CollectedResponses> _machine;
        private uint _tag;

        public World(int seed)
        {
            _random = new Random(seed);
            const DeviceTraits traits = DeviceTraits.Known | DeviceTraits.Discard;
            _devices = [new ServedDevice(DiskSize, 512, traits), new ServedDevice(DiskSize, 4096, traits, hasSmart: true), new ServedDevice(DiskSize, 512, traits | DeviceTraits.ReadOnly)];
            _disk = new SimulatedDisk(_random, _devices, BufferLength);
            _machine = new ServingMachine<SimulatedQueue, CollectedResponses>(
                _devices,
                OffsetUnit.Bytes,
                BufferLength,
                Capacity,
                Batch,
                PeerFeatures.Agrees,
                new Complaints(NullLogger.Instance, 1),
                new SimulatedQueue(_disk),
                new CollectedResponses(_responses, _disk));
        }

        public void Run(int steps)
        {
            Ask(new Request { Kind = RequestKind.Reset });
            for (int i = 0; i < steps; i++)
            {
                switch (_random.Next(10))
                {
                    case < 4:
                        Ask(RandomRequest());
                        break;
                    case < 6:
                        Deliver();
                        break;
                    case 6 when _random.Next(20) == 0:
                        NewSession();
                        break;
                    case 7 when _random.Next(20) == 0:
                        _machine.Resize(0, DiskSize);
                        break;
                    default:
                        CompleteOne();
                        break;
                }

                Check();
            }

            // In the end everything that was asked in this session is answered, and nothing is left.
            for (int i = 0; i < 10_000 && (_channel.Count > 0 || _disk.Pending > 0); i++)
            {
                Deliver();
                CompleteOne();
                Check();
            }

            Assert.Equal(0, _machine.UnderWay);
            _machine.Resize(0, DiskSize);
            Check();
            Assert.Empty(_asked);
            for (int device = 0; device < _devices.Length; device++) Assert.Equal(-1, _devices[device].WaitingSyncs);
        }

        private Request RandomRequest()
        {
            RequestKind[] kinds = [RequestKind.Read, RequestKind.Write, RequestKind.Write, RequestKind.Discard, RequestKind.Sync, RequestKind.BlockLength, RequestKind.GetSmart, RequestKind.Reset, RequestKind.Watch, (RequestKind)_random.Next(0x30)];
            var request = new Request
            {
                Kind = kinds[_random.Next(kinds.Length)],
                Device = (ushort)_random.Next(_devices.Length + 1),
                Length = (ulong)_random.Next(1, 4) * 4096,
                DeviceOffset = (ulong)_random.Next(0, (DiskSize / 4096) + 1) * 4096,
                BufferOffset = (ulong)_random.Next(0, (BufferLength / 4096) + 1) * 4096,
            };
            if (request.Kind == RequestKind.Watch) request.Length = (ulong)_random.Next(4);
            if (_random.Next(6) > 0) return request;

            // A client that means harm: anything at all, near the ends of the range of numbers above all.
            ulong wild = _random.Next(2) == 0 ? ulong.MaxValue - (ulong)_random.Next(0, 8192) : (ulong)_random.NextInt64();
            switch (_random.Next(3))
            {
                case 0: request.Length = wild; break;
                case 1: request.DeviceOffset = wild; break;
                default: request.BufferOffset = wild; break;
            }

            return request;
        }

        private void Ask(Request request)
        {
            // A client keeps what is in flight within what the channel holds.
            if (_asked.Count >= Capacity) return;
            request.Tag = ++_tag;
            _asked.Add(request.Tag, request);
            _channel.Enqueue(request);
        }

        private void Deliver()
        {
            int room = _machine.Inbox.Length;
            int count = 0;
            while (count < room && _channel.TryDequeue(out Request request)) _machine.Inbox[count++] = request;
            if (count > 0) _machine.Accept(count);
        }

        private void CompleteOne()
        {
            if (_disk.Pending == 0) return;
            (uint slot, int result) = _disk.Step();
            _machine.Complete(slot, result);
        }

        private void NewSession()
        {
            _machine.BeginSession();
            _channel.Clear();
            _asked.Clear();
            Ask(new Request { Kind = RequestKind.Reset });
        }

        private void Check()
        {
            Assert.InRange(_machine.UnderWay, 0, Capacity);
            foreach (Response response in _responses)
            {
                // Exactly one answer to each request of the session, with its kind and device.
                Assert.True(_asked.Remove(response.Tag, out Request request), $"tag {response.Tag} was answered although it was not asked, or twice");
                Assert.Equal(request.Kind, response.Kind);
                Assert.Equal(request.Device, response.Device);
                if (response.Kind == RequestKind.Sync) Assert.DoesNotContain(_asked.Values, other => IsEarlierWrite(other, request));
                if (response.Kind == RequestKind.GetSmart && request.Device < _devices.Length) CheckSmart(request, (SmartStatus)response.Status);
                if (response.Status == 0 && request.Kind is RequestKind.Read or RequestKind.Write && request.Device < _devices.Length) CheckTransfer(request);
            }

            _responses.Clear();
        }

        private static bool IsEarlierWrite(in Request other, in Request sync) =>
            other.Tag < sync.Tag && other.Device == sync.Device && (other.Kind is RequestKind.Write or RequestKind.Discard);

        private void CheckSmart(in Request request, SmartStatus status)
        {
            bool isInBuffer = request.BufferOffset % 4096 == 0 && request.BufferOffset <= BufferLength - 512;
            SmartStatus expected = isInBuffer ? SmartStatus.ThresholdExceeded : SmartStatus.Failure;
            Assert.Equal(_devices[request.Device].HasSmart ? expected : SmartStatus.Undefined, status);
        }

        private void CheckTransfer(in Request request)
        {
            ServedDevice device = _devices[request.Device];
            Assert.Equal(0ul, request.Length % device.BlockLength);
            Assert.True(request.DeviceOffset <= device.Size && request.Length <= device.Size - request.DeviceOffset);
            Assert.True(request.BufferOffset <= BufferLength && request.Length <= BufferLength - request.BufferOffset);
            Assert.False(request.Kind == RequestKind.Write && device.IsReadOnly);
        }
    }
}
