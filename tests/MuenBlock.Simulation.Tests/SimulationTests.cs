using CsCheck;
using MuenBlock.Ublk.Session;
using Xunit;

namespace MuenBlock.Simulation.Tests;

/// <summary>
/// Both state machines over real channels, with a simulated driver, disk, clock and fate. A seed decides everything; one that fails
/// is printed, and runs again with MUENBLOCK_SEED.
/// </summary>
public sealed class SimulationTests
{
    private const int Elements = 12;
    private const int Slots = 8;
    private const int Blocks = 48;
    private const int DiskSize = Blocks * 512;
    private const int LongestPause = 1_000; // steps in which a server is stopped and nothing of it happens

    [Fact]
    public void No_acknowledged_IO_is_lost_whoever_dies_and_none_is_forgotten()
    {
        if (int.TryParse(Environment.GetEnvironmentVariable("MUENBLOCK_SEED"), out int seed))
        {
            new World(seed).Run();
            return;
        }

        int seeds = int.TryParse(Environment.GetEnvironmentVariable("MUENBLOCK_SEEDS"), out int count) ? count : 10_000;
        Gen.Int[0, int.MaxValue].Sample(chosen => new World(chosen).Run(), iter: seeds);
    }

    private sealed class World
    {
        private readonly Random _random;
        private readonly Disk _disk;
        private readonly int _deaths;
        private readonly bool _plainServer;
        private readonly Patience _patience;
        private int _pause;
        private long _now;

        public World(int seed)
        {
            _random = new Random(seed);
            _deaths = _random.Next(3) * 10;
            _plainServer = _random.Next(4) == 0;
            _patience = new Patience(_random.Next(2) == 0 ? _random.Next(100, 2_000) : long.MaxValue, _random.Next(100, 2_000));
            Memory = new SharedMemory(Elements, Slots * Kernel.SlotSize);
            _disk = new Disk(_random, DiskSize, Memory.Buffer) { Errors = _random.Next(3) * 10 };
        }

        private SharedMemory Memory { get; }

        public void Run()
        {
            using SharedMemory memory = Memory;
            var kernel = new Kernel(Slots, Blocks, memory, _disk, _random);
            Server? server = null;
            Client? client = null;
            int issued = 0;
            for (int step = 0; issued < 150 || kernel.UnderWay > 0; step++)
            {
                Assert.True(step < 50_000, $"{kernel.UnderWay} I/Os were never answered");
                bool troubled = issued < 150;
                _now += _random.Next(4);
                switch (_random.Next(10))
                {
                    case 0 when issued < 150:
                        kernel.Issue();
                        issued++;
                        break;
                    case 1 when troubled && _random.Next(1000) < _deaths && server is not null:
                        if (_random.Next(3) == 0) server.Stop();
                        else _disk.Orphan();
                        server = null;
                        break;
                    case 2 when troubled && _random.Next(1000) < _deaths:
                        client = null;
                        break;
                    case 3 when troubled && _random.Next(1000) < _deaths:
                        _pause = _random.Next(LongestPause);
                        break;
                    case < 6:
                        client ??= new Client(memory, kernel, _patience, _random);
                        client.Step(_now);
                        Assert.Null(client.Refusal);
                        break;
                    case > 5 when _pause > 0:
                        _pause--;
                        break;
                    default:
                        server ??= new Server(memory, _disk, DiskSize, _plainServer, _random);
                        server.Step();
                        break;
                }
            }

            kernel.CheckDisk();
            Assert.True(kernel.Acknowledged > 0 || kernel.Failed > 0);
        }
    }
}
