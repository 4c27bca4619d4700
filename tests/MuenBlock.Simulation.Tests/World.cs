using MuenBlock.Ublk.Session;
using Xunit.Sdk;

namespace MuenBlock.Simulation.Tests;

/// <summary>
/// A client, a server, the memory between them, the disks, the clock, and fate: all of it decided by a seed. After <see cref="Ios"/> I/Os were
/// asked for nothing bad happens any more, and everything must come to its end.
/// </summary>
internal sealed class World : IDisposable
{
    public const int MostSteps = 60_000;

    private const int Ios = 150;
    private const int IosAfterHostility = 50;
    private const int LongestPause = 1_000; // steps in which a server is stopped and nothing of it happens
    private const int LongestLoss = 100; // turns of a client without its memory
    private const int WholeStep = 9; // parts of a turn; more than there are

    private readonly Random _random;
    private readonly Random _losses;
    private readonly SharedMemory _memory;
    private readonly Disks _disks;
    private readonly Kernel _kernel;
    private readonly int _deaths;
    private readonly bool _plainServer;
    private readonly Patience _patience;
    private readonly Side _hostile;
    private readonly bool _overreaches;
    private readonly Vandal _vandal;
    private readonly int _hostileFrom;
    private readonly int _hostileTo;
    private Server? _server;
    private Client? _client;
    private int _pause;
    private long _now;

    public World(int seed, bool traced, bool measures)
    {
        Trace = new Trace(traced);
        _random = new Random(seed);
        _losses = new Random(~seed);
        _deaths = _random.Next(3) * 10;
        _plainServer = _random.Next(4) == 0;
        _patience = new Patience(_random.Next(2) == 0 ? _random.Next(100, 2_000) : long.MaxValue, _random.Next(100, 2_000));
        _hostile = (Side)Math.Max(0, _random.Next(6) - 3);
        _overreaches = _random.Next(4) == 0;
        _hostileFrom = _random.Next(0, 800);
        _hostileTo = _hostile == Side.None ? 0 : _hostileFrom + _random.Next(100, 1_000);
        int elements = _random.Next(3, 15) + Client.Questions;
        int slots = _random.Next(3, elements - Client.Questions + 1);
        Measures = measures && !traced;
        _memory = new SharedMemory(elements, slots * Kernel.SlotSize);
        _vandal = new Vandal(_random, _memory, _hostile, _overreaches);
        _disks = new Disks(_random, _memory, Trace) { Errors = _random.Next(3) * 10 };
        _kernel = new Kernel(slots, _memory, _disks, _random, Trace);
        Trace.Log($"world: {slots} slots, {elements} elements, deaths {_deaths}, {(_plainServer ? "plain server, " : "")}{_patience}, hostile {_hostile}{(_overreaches ? " (overreaching)" : "")} from {_hostileFrom} to {_hostileTo}");
    }

    public Trace Trace { get; }

    /// <summary>Whether allocations are measured: not while a trace is made, nor before everything ran once.</summary>
    public bool Measures { get; }

    /// <summary>Whether both ends keep to the rules.</summary>
    public bool Honest { get; private set; } = true;

    /// <summary>Whether, besides, nothing is left in the channels of a time when one did not.</summary>
    public bool Trusting => _kernel.Trusting;

    /// <summary>The epoch of the server that is there.</summary>
    public ulong ServerEpoch { get; set; }

    public Tally Tally { get; } = new();

    /// <summary>Whether a client finds in the devices' records which disks they were made of.</summary>
    public bool HasRecords => !_plainServer;

    public int SectorsOf(int device) => _disks.Sectors(device);

    /// <summary>Whether every device is as large as its disk.</summary>
    private bool Grown => Enumerable.Range(0, Drive.All.Length).All(device => _kernel.Promised(device) == _disks.Sectors(device));

    public ulong NewEpoch() => (ulong)_random.NextInt64(1, long.MaxValue);

    public void Run()
    {
        int issued = 0;
        for (int step = 0; issued < Ios || _kernel.UnderWay > 0 || step <= _hostileTo || !Trusting || !Grown; step++)
        {
            Trace.Step = step;
            Invariants.I8_everything_ends(step, _kernel.UnderWay);
            bool troubled = issued < Ios;
            _now += _random.Next(4);
            if (_hostile != Side.None && step == _hostileFrom) TurnHostile();
            if (_hostile != Side.None && step == _hostileTo)
            {
                TurnHonest();
                issued = Math.Min(issued, Ios - IosAfterHostility);
            }

            if (!Honest && _random.Next(4) == 0)
            {
                _vandal.Strike();
                Tally.Strikes++;
            }

            switch (_random.Next(10))
            {
                case 0 when issued < Ios:
                    _kernel.Issue();
                    issued++;
                    break;
                case 1 when troubled:
                    MaybeKill();
                    break;
                case 2 when _disks.Haunted:
                    _disks.EndDead();
                    break;
                case 3 when troubled && _random.Next(1000) < _deaths:
                    _pause = _random.Next(LongestPause);
                    break;
                case 4 when _random.Next(60) == 0:
                    Grow(troubled);
                    break;
                case < 6:
                    StepClient();
                    break;
                case > 5 when _pause > 0:
                    _pause--;
                    break;
                default:
                    StepServer();
                    break;
            }

            Check();
        }

        _kernel.CheckDisks();
        Tally.Acknowledged += _kernel.Acknowledged;
        Tally.Failed += _kernel.Failed;
        Tally.Shorts += _disks.Shorts;
    }

    /// <summary>A session has begun. If it is the first between honest ends again, all is as it should be from now on.</summary>
    public void SessionBegan(ulong serverEpoch)
    {
        if (Trusting || !Honest || _server is null || serverEpoch != ServerEpoch) return;
        _kernel.Distrust();
        _kernel.Trusting = true;
        Tally.ServedAfterHostility++;
    }

    public void Dispose() => _memory.Dispose();

    private void Check()
    {
        _server?.Check();
        _client?.Check();
        _memory.Check();
        if (Trusting && _server is not null) Invariants.I3_a_wrong_disk_is_not_touched(_server.IsWrong, _disks.UnderWay);
        if (Trusting && _client?.Refusal is { } rule) throw new XunitException($"I3: an honest server was refused: {rule}");
    }

    private void StepClient()
    {
        // Whoever was told of other devices than there are did not get to serve I/O, and ends.
        if (Honest && _client?.WasDeceived == true) KillClient();
        _client ??= new Client(this, _memory, _kernel, _patience, _random);
        int parts = Parts();
        _client.Step(_now, parts);
        if (parts < WholeStep) KillClient();
    }

    /// <summary>A disk grows, or somebody asks whether one has: a server that tells nobody has to be asked.</summary>
    private void Grow(bool troubled)
    {
        if (troubled && _disks.Grow(_random.Next(Drive.All.Length))) Tally.Growths++;
        if (_random.Next(2) == 0) _server?.LookAtDisks();
        else if (_plainServer || (troubled && _random.Next(2) == 0)) _client?.AskSizes(_now);
    }

    private void StepServer()
    {
        if (_server is null)
        {
            // Its predecessor's last I/O holds the locks.
            if (_disks.Haunted) return;
            Mistake mistake = _plainServer || _random.Next(20) > 0 ? Mistake.None : _random.Next(2) == 0 ? Mistake.OtherDisk : Mistake.ReadOnly;
            if (mistake == Mistake.OtherDisk) Tally.WrongDisks++;
            if (mistake == Mistake.ReadOnly) Tally.ReadOnlyServers++;
            _server = new Server(this, _memory, _disks, _plainServer, mistake, _random);
        }

        // Whoever started a server by mistake sees that nothing works.
        if (_server.IsWrong && _random.Next(100) == 0)
        {
            KillServer();
            return;
        }

        int parts = Parts();
        _server.Step(parts);
        if (parts < WholeStep) KillServer();
    }

    /// <summary>Now and then an end is killed in the middle of a turn.</summary>
    private int Parts() => _random.Next(10_000) < _deaths / 2 && Honest ? _random.Next(1, 4) : WholeStep;

    /// <summary>Either end, or both at once; more often while an end recovers from the other's death.</summary>
    private void MaybeKill()
    {
        if (_losses.Next(1000) < _deaths / 2) _client?.LoseMemory(_losses.Next(1, LongestLoss));
        bool recovering = _client?.Recovering == true || _server?.Recovering == true;
        if (_random.Next(1000) >= (recovering ? 3 : 2) * _deaths) return;
        int whom = _random.Next(8);
        if (recovering) Tally.DeathsInRecovery++;
        if (whom == 0) Tally.DeathsOfBoth++;
        if (whom is 0 or > 4) KillClient();
        if (whom > 4) return;
        switch (_random.Next(4))
        {
            case 0 when _server is not null && Honest:
                _server.Stop();
                _server = null;
                break;
            case 1:
                KillServer();
                _disks.CutPower();
                _kernel.PowerCut();
                Tally.PowerCuts++;
                Trace.Log($"power cut");
                break;
            default:
                KillServer();
                break;
        }
    }

    private void KillClient()
    {
        Trace.Log($"client: killed");
        Tally.ClientDeaths++;
        Tally.Replayed += _client?.Replayed ?? 0;
        _client = null;
    }

    private void KillServer()
    {
        if (_server is null) return;
        Trace.Log($"server: killed");
        Tally.ServerDeaths++;
        _server = null;
        _disks.Orphan();
    }

    private void TurnHostile()
    {
        Trace.Log($"{_hostile} turns hostile");
        Honest = false;
        _kernel.Trusting = false;
    }

    /// <summary>The hostile end is replaced by an honest one. The other must serve it, without a restart, unless its own memory was changed.</summary>
    private void TurnHonest()
    {
        Trace.Log($"{_hostile} is replaced");
        if (_hostile == Side.Client || _overreaches || _client?.WasDeceived == true || _client?.Refusal is not null) KillClient();
        if (_hostile == Side.Server || _overreaches) KillServer();
        Honest = true;
    }
}
