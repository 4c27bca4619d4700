using Microsoft.Extensions.Logging;
using MuenBlock.IoUring;
using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using MuenBlock.Protocol.Signals;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Queues;

/// <content>Its loop: collect what the kernel wants, publish, collect answers, submit, sleep.</content>
internal sealed partial class ConnectionThread
{
    /// <summary>What the thread works with: made by it, used by it alone.</summary>
    private sealed partial class Loop
    {
        // Large enough that a batch pays for its system call many times, small enough that a peer does not wait for the whole of a deep queue.
        private const int Batch = 64;

        // So few entries are worth no call of their own: they go out with the one that sleeps.
        private const uint FewQueued = 4;

        // Servers come and go by the hand of an operator; what comes more often than this is a server gone wrong.
        private const int ServerLinesInMinute = 60;

        private const int StrayLinesInMinute = 10; // enough to see what is wrong
        private const long LookMilliseconds = 1_000;

        private readonly ConnectionThread _owner;
        private readonly ILogger _log;
        private readonly uint _id;
        private readonly Ring _ring;
        private readonly ChannelWriter<Request> _requests;
        private readonly ChannelReader<Response> _responses;
        private readonly PeerSignal<Response, Request> _signal;
        private readonly Response[] _inbox = new Response[Batch];
        private readonly DeviceFiles _files;
        private readonly LateCompletions _completions = new();
        private readonly SessionMachine<ChannelRequests, ForwardedCompletions> _session;
        private DeviceQueue[] _queues = [];
        private QueueCommands _commands;
        private readonly AllocationMeter _meter = new();
        private readonly PathMeter _path;
        private readonly LineBudget _budget;
        private readonly LineBudget _strayBudget;
        private readonly StallLog _stalls;
        private ulong _ios;
        private ulong _copies;
        private ulong _shared;
        private BufferLayout? _layout;
        private int _depth = 1;
        private int _open;
        private int _ending;
        private bool _assigned;
        private bool _lost;
        private bool _looked;
        private long _nextLook;
        private long _nextNews;
        private bool _unanswered;
        private ulong _sharedEnd;

        public unsafe Loop(ConnectionThread owner, Ring ring, SignalWays ways)
        {
            ConnectionRegions regions = owner._regions;
            _owner = owner;
            _log = owner._log;
            _id = regions.Name.Id;
            _budget = new LineBudget(_log, $"connection {_id}, the backend's coming and going", ServerLinesInMinute);
            _strayBudget = new LineBudget(_log, $"connection {_id}, responses that nobody asked for", StrayLinesInMinute);
            _stalls = new StallLog(_log, _id, DescribePeer);
            _ring = ring;
            _path = new PathMeter(ring);
            _files = new DeviceFiles(ring);
            _requests = new ChannelWriter<Request>(regions.Request.Memory, regions.Request.Length, regions.Name.RequestProtocol);
            _responses = new ChannelReader<Response>(regions.Response.Memory, regions.Response.Length, regions.Name.ResponseProtocol);
            _signal = new PeerSignal<Response, Request>(ring, _responses, _requests, ways, owner._options.Wait, owner._options.Spin) { Gathers = true };
            _session = new SessionMachine<ChannelRequests, ForwardedCompletions>(
                owner._options.OffsetUnit,
                PeerFeatures.Agrees | PeerFeatures.Traits | PeerFeatures.Identity | PeerFeatures.Watch | ways.Wakes,
                (int)Epoch.New(),
                this,
                new ChannelRequests(_requests, _signal),
                new ForwardedCompletions(_completions),
                owner._joined)
            {
                Patience = owner._options.Patience,
                Grows = owner.Grows,
                KnowsDisks = owner.KnowsDisks,
            };
            uint packets = Math.Min(_requests.Elements, _responses.Elements);
            owner.MostInFlight = packets - Math.Min(packets, SessionMachine<ChannelRequests, ForwardedCompletions>.Questions);
            owner._responses = _responses;
        }

        public void Run()
        {
            _ring.RegisterSelf();
            _owner._control.Arm(_ring, ControlCompletion);
            LogSignals(_log, _id, _signal.Waiting, _signal.Waking + _signal.Looking);
            _signal.Initialise();

            while (!Ended)
            {
                long now = Environment.TickCount64;
                _session.Now = now;

                // Requests go out before the next submission, so that the server works on them meanwhile.
                bool worked = CollectCompletions();
                if (_requests.Open > 0) _signal.Publish();
                if (_lost || _owner._regions.All.Lost is not null) LookAfterRegions();
                else if (now >= _nextLook) LookAtRequests(now);
                worked |= !_lost && CollectResponses(now);
                _session.Tick(now);
                if (_requests.Open > 0) _signal.Publish();

                // With little to submit and nothing to collect, submitting and sleeping are one call.
                int atOnce = _commands.Flush();
                bool few = _signal.NoteInFlight(_session.Count);
                bool fuses = few || (_ring.Queued <= FewQueued && !_responses.HasNews);
                if (_ring.HasDeferredWork || (_ring.Queued > 0 && !fuses)) _ = _ring.Enter();
                else if ((_ring.Queued > 0 || !worked) && !Ended) _signal.Sleep(!_lost && _session.ExpectsAnswer, few, UntilDeadline(), atOnce);
            }

            // What was answered last is not issued again.
            if (_ring.Queued > 0) _ = _ring.Enter();
        }

        public unsafe void End()
        {
            (long bytes, int collections) = _assigned ? (_meter.Bytes, _meter.Collections) : (0, 0);
            _signal.Deactivate();
            foreach (DeviceQueue queue in _queues) Close(queue);
            LogEnded(_log, _id, _ios, _copies, _shared, _session.Replayed, _session.Strays, bytes, collections);
            if (_assigned) LogPath(_log, _id, _path.Describe(_signal.Sleeps, _signal.Wakes, _ios));
        }

        // Looked at before sleeping as well: after the last tag nothing may be left to come that would end the sleep. A device that is taken from this
        // server (QUIESCE_DEV) loses the tags that are not in use at that moment, one in each queue at least. Of the others nothing more is heard once they
        // are committed: the end of the ring ends them.
        private bool Ended => _owner._stopping || (_assigned && (_open == 0 || (_ending == _open && _session.Count == 0)));

        private bool CollectCompletions()
        {
            int count = 0;
            while (count < Batch && _ring.TryTake(out Completion completion))
            {
                count++;
                if (completion.UserData <= uint.MaxValue) Fetched((uint)completion.UserData, completion.Result);
                else if (completion.UserData < ControlCompletion) TakeBatch(completion);
                else if (completion.UserData == ControlCompletion) TakeControl();
                else _signal.Complete(completion);
                if (_requests.IsWorthPublishing) _signal.Publish();
            }

            if (count > 0) _ring.Release();
            return count > 0;
        }

        private void TakeControl()
        {
            _looked = true;
            _owner._control.Arm(_ring, ControlCompletion);
            if (!_assigned && _owner._assignment is { } assignment) Take(assignment);
            if (!_owner._asksSizes) return;
            _owner._asksSizes = false;
            _session.AskSizes(_session.Now);
        }

        /// <summary>
        /// Memory that the server shares with this client was gone, and what was in it: all I/O fails until the regions are whole again.
        /// </summary>
        private void LookAfterRegions()
        {
            if (!_lost)
            {
                _lost = true;
                string? name = _owner._regions.All.Lost?.Name;
                _signal.Forget();
                _session.MemoryLost();
                if (!_owner._greeted.IsSet) _owner._failure = new ProgramException(ExitCode.Resource, $"connection {_id}: region {name} was truncated while it was in use, or its file system is full");
                _owner._greeted.Set();
                if (_budget.Allows()) LogLost(_log, _id, RegionSet.Rule, name);
            }

            if (!_looked) return;
            _looked = false;
            if (_owner._regions.Buffer.IsLost) ForgetSharedMemory();
            if (!_owner._regions.All.TryRestore()) return;

            // What was fetched so far has its data in the memory that has just been replaced: it fails as well. A tag has one completion at most.
            int rounds = (_queues.Length * _depth / Batch) + 2;
            while (rounds-- > 0 && CollectCompletions())
            {
            }

            _lost = false;
            _responses.Forget();
            _session.MemoryReturned();
            _signal.Initialise();
            if (_budget.Allows()) LogRestored(_log, _id);
        }

        /// <summary>The driver still has the pages that the buffer had before, and calls places in the buffer what is none any more: so it will to each successor.</summary>
        private void ForgetSharedMemory()
        {
            _sharedEnd = 0;
            if (_owner._lostBuffer) return;
            _owner._lostBuffer = true;
            _owner._news();
        }

        /// <summary>
        /// A request channel that the server would not find any more, because somebody else wrote to its header or truncated its file for a
        /// moment, begins anew. Where there is no session the next one does that.
        /// </summary>
        private void LookAtRequests(long now)
        {
            _nextLook = now + LookMilliseconds;
            if (_requests.IsIntact || _session.State is not (SessionState.Ready or SessionState.Greeting)) return;
            BeginSession();
            if (_budget.Allows()) LogOverwritten(_log, _id);
        }

        private bool CollectResponses(long now)
        {
            if (!_responses.HasNews) return false;
            ReadStatus status = _responses.Read(_inbox, out int count);
            switch (status)
            {
                case ReadStatus.NoData:
                    return false;
                case ReadStatus.Success:
                    _session.Receive(_inbox.AsSpan(0, count), now);
                    return true;
                case ReadStatus.NewEpoch:
                    // Nothing in there answers what this session will ask.
                    _responses.Drain();
                    BeginSession();
                    return true;
                case ReadStatus.Overrun:
                    if (_budget.Allows()) LogOverrun(_log, _id);
                    BeginSession();
                    return true;
                case ReadStatus.Incompatible:
                    if (_budget.Allows())
                    {
                        _owner._state = _responses.DescribeHeader();
                        LogIncompatible(_log, _id, _owner._state);
                    }

                    break;
                default:
                    if (_budget.Allows()) LogServerLeft(_log, _id, _session.Count);
                    break;
            }

            _signal.Forget();
            _session.ServerLeft();
            return true;
        }

        private void BeginSession()
        {
            _signal.Forget();
            _session.ServerAppeared(Environment.TickCount64);
        }

        private string DescribePeer() =>
            $"session {_session.State}, the backend's epoch {_responses.Epoch:x}, requests written {_requests.Written}, responses written {_responses.Written} and read {_responses.Count}";

        private unsafe void Take(Assignment assignment)
        {
            _assigned = true;
            if (assignment.Cpus.Count > 0) Pin(assignment.Cpus);
            _queues = assignment.Queues;
            _open = _queues.Length;
            _layout = assignment.Layout;
            _depth = assignment.Layout.Depth;
            _sharedEnd = assignment.SharesMemory ? _owner._regions.Buffer.Length : 0;
            _commands = new QueueCommands(_ring, _queues[0].Number, _files, assignment.Layout, _queues, _owner._regions.Buffer, assignment.Bounce, new GatheringQueues(_queues), _owner._elsewhere);
            _completions.Commands = _commands;
            _session.Prepare(assignment.Layout.Slots, assignment.Layout.SlotSize);
            foreach (DeviceQueue queue in _queues)
            {
                _session.Promise(queue.Device, assignment.Promises[queue.Index]);
                _files.Add(queue);
                if (queue.IsBatched) queue.Batch = new BatchQueue(_ring, queue);
                _commands.Begin(queue);
            }

            for (int device = 0; device < _session.Devices.Length; device++)
            {
                if (!Array.Exists(_queues, queue => queue.Device == device)) _session.Skip(device);
            }

            _meter.Restart();
            _path.Restart(_signal.Sleeps, _signal.Wakes);
            _owner._taken.Set();
        }

        private void Pin(IReadOnlyList<int> cpus)
        {
            if (CpuChoice.PinThisThread(cpus)) LogPinned(_log, _id, CpuChoice.Describe(cpus));
            else LogNotPinned(_log, _id, CpuChoice.Describe(cpus));
        }

        private void Close(DeviceQueue queue)
        {
            if (queue.Closed.IsSet) return;
            _files.Remove(queue);
            queue.Batch?.Dispose();
            queue.Dispose();
            _open--;
            if (queue.IsEnding) _ending--;
        }

        private long UntilDeadline()
        {
            if (_session.Deadline == long.MaxValue) return -1;
            const long nanosecondsInMillisecond = 1_000_000;
            return Math.Max(0, _session.Deadline - _session.Now) * nanosecondsInMillisecond;
        }
    }
}
