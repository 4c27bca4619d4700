using CsCheck;
using MuenBlock.Protocol.Messages;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Tests;

/// <summary>
/// Two queues of one disk, whose servers are slow, stop, die and lose their memory. An application writes each block again only when its last write of it has ended,
/// on any queue. What it was told is written must be there, and stay; and when all servers are well it must be able to write.
/// </summary>
public sealed class JoinedSessionsProperties
{
    private const int Steps = 400;
    private static readonly Gen<(int Kind, int Queue, int Which)[]> s_steps = Gen.Select(Gen.Int[0, 11], Gen.Int[0, 1], Gen.Int[0, SessionWorld.Slots - 1]).Array[Steps];

    [Fact]
    public void What_was_acknowledged_on_one_queue_is_not_undone_by_what_was_given_up_on_another() =>
        s_steps.Sample(steps =>
        {
            var run = new Run();
            foreach ((int kind, int queue, int which) in steps) run.Step(kind, queue, which);
            run.Settle();
        });

    private sealed class Run
    {
        private const int BlockSize = 4096;
        private const int SectorsInBlock = BlockSize / 512;

        private readonly SessionWorld[] _worlds;
        private readonly List<(Request Request, int Stamp)>[] _atServer = [[], []];
        private readonly int[][] _stamps = [new int[SessionWorld.Slots], new int[SessionWorld.Slots]];
        private readonly int[] _seen = [0, 0];
        private readonly bool[] _lost = [false, false];
        private readonly int[] _disk = new int[SessionWorld.Slots];
        private readonly bool[] _inFlight = new bool[SessionWorld.Slots];
        private readonly HashSet<int>[] _allowed = [.. Enumerable.Range(0, SessionWorld.Slots).Select(_ => new HashSet<int> { 0 })];
        private int _stamp;
        private long _now;

        public Run()
        {
            var joined = new JoinedSessions([1, 2]);
            _worlds = [.. Enumerable.Range(0, 2).Select(queue => new SessionWorld(new Patience(Fail: 8_000, Warn: long.MaxValue), joined[queue]))];
            foreach (SessionWorld world in _worlds) world.GreetWithDisk(1);
        }

        public void Step(int kind, int queue, int which)
        {
            SessionWorld world = _worlds[queue];
            switch (kind)
            {
                case <= 4:
                    Write(queue, which);
                    break;
                case <= 8:
                    Serve(queue, which);
                    break;
                case 9:
                    _now += which * 250; // less than a question may take, so that I/O is given up in the middle of a handshake
                    foreach (SessionWorld each in _worlds) each.Session.Tick(_now);
                    break;
                case 10 when !_lost[queue]:
                    // Its successor waits until the last I/O of a killed server has ended, one way or the other.
                    foreach ((Request request, int stamp) in _atServer[queue].Where((_, i) => (i + which) % 2 == 0)) Carry(request, stamp);
                    _atServer[queue].Clear();
                    world.Session.ServerAppeared(_now);
                    break;
                case 11 when _lost[queue]:
                    _lost[queue] = false;
                    world.Session.MemoryReturned();
                    world.Session.ServerAppeared(_now);
                    break;
                case 11 when which == 0:
                    _lost[queue] = true;
                    world.Session.MemoryLost();
                    break;
            }

            TakeCompletions();
        }

        /// <summary>Every server is there and ends what it has. Then every queue writes: no doubt outlives its cause.</summary>
        public void Settle()
        {
            const int most = 1_000;
            for (int queue = 0; queue < _worlds.Length; queue++)
            {
                SessionWorld world = _worlds[queue];
                if (_lost[queue]) Step(11, queue, 0);
                int steps = 0;
                while (world.Session.State != SessionState.Ready || _atServer[queue].Count + world.Sent.Count > 0)
                {
                    Assert.True(++steps < most);
                    Serve(queue, 0);
                    TakeCompletions();
                }
            }

            for (int queue = 0; queue < _worlds.Length; queue++)
            {
                Write(queue, 0);
                Serve(queue, 0);
                TakeCompletions();
                Assert.Equal((0u, BlockSize), _worlds[queue].Completed[^1]);
            }
        }

        private void Write(int queue, int block)
        {
            if (_inFlight[block]) return;
            _inFlight[block] = true;
            _stamps[queue][block] = ++_stamp;
            _allowed[block].Add(_stamp);
            _worlds[queue].Session.Now = _now;
            _worlds[queue].Session.Submit((uint)block, RequestKind.Write, 0, (ulong)block * BlockSize, BlockSize);
        }

        /// <summary>A server takes what was sent, and ends one of its writes. It answers a Reset when it has none left.</summary>
        private void Serve(int queue, int which)
        {
            SessionWorld world = _worlds[queue];
            foreach (Request request in _lost[queue] ? [] : world.TakeSent())
                _atServer[queue].Add((request, request.Kind == RequestKind.Write ? _stamps[queue][request.DeviceOffset / SectorsInBlock] : 0));
            (Request Request, int Stamp)[] writes = [.. _atServer[queue].Where(pending => pending.Request.Kind == RequestKind.Write)];
            if (writes.Length > 0)
            {
                (Request Request, int Stamp) ending = writes[which % writes.Length];
                Carry(ending.Request, ending.Stamp);
                _ = _atServer[queue].Remove(ending);
                if (!_lost[queue]) world.Answer(ending.Request, 0, _now);
                return;
            }

            if (_lost[queue] || _atServer[queue].Count == 0) return;
            Request question = _atServer[queue][^1].Request;
            _atServer[queue].Clear();
            world.Answer(question, question.Kind == RequestKind.Identity ? 1 : SessionWorld.GoodAnswer(question.Kind), _now);
        }

        private void Carry(in Request request, int stamp)
        {
            if (request.Kind != RequestKind.Write) return;
            int block = (int)(request.DeviceOffset / SectorsInBlock);
            _disk[block] = stamp;
            Assert.Contains(stamp, _allowed[block]);
        }

        private void TakeCompletions()
        {
            for (int queue = 0; queue < 2; queue++)
            {
                foreach ((uint slot, int result) in _worlds[queue].Completed.Skip(_seen[queue]))
                {
                    _inFlight[slot] = false;
                    if (result > 0) _allowed[slot] = [_stamps[queue][slot]];
                    Assert.Contains(_disk[slot], _allowed[slot]);
                }

                _seen[queue] = _worlds[queue].Completed.Count;
            }
        }
    }
}
