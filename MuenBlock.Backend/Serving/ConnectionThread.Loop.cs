using Microsoft.Extensions.Logging;
using MuenBlock.IoUring;
using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Signals;

namespace MuenBlock.Backend.Serving;

/// <content>Its loop: collect completions, publish, collect requests, submit, sleep.</content>
internal sealed partial class ConnectionThread
{
    /// <summary>What the thread works with: made by it, used by it alone.</summary>
    private sealed partial class Loop
    {
        private readonly ConnectionThread _owner;
        private readonly Ring _ring;
        private readonly PolledRing? _polled;
        private readonly Ring[] _rings;
        private readonly SmartThread? _smart;
        private readonly ChannelReader<Request> _requests;
        private readonly ChannelWriter<Response> _responses;
        private readonly PeerSignal<Request, Response> _signal;
        private readonly ServingMachine<RingDisks, ChannelResponses> _machine;
        private readonly uint _id;
        private readonly ILogger _log;
        private readonly AllocationMeter _meter = new();
        private readonly PathMeter _path;
        private readonly LineBudget _budget;
        private readonly BatchSize _batchSize = new(Batch);
        private readonly DiskMemory _memory;
        private readonly Func<IoVector, int> _update;
        private ulong _requestsBefore;
        private bool _greeted; // a client's epoch was seen, and not its end
        private bool _lost;
        private bool _looked;
        private long _nextLook;
        private int _notRegistered;
        private long _confirmDeadline;
        private long _heardBy;

        public unsafe Loop(ConnectionThread owner, Ring ring, PolledRing? polled, DiskMemory memory, SignalWays ways, SmartThread? smart)
        {
            Connection connection = owner._connection;
            _owner = owner;
            _ring = ring;
            _polled = polled;
            _rings = polled is null ? [ring] : [ring, polled.Ring];
            _path = new PathMeter(_rings);
            _memory = memory;
            _update = UpdateBuffer;
            _smart = smart;
            _log = owner._log;
            _id = connection.Name.Id;
            _budget = new LineBudget(_log, $"connection {_id}, sessions", SessionLinesInMinute);
            _requests = new ChannelReader<Request>(connection.Request.Memory, connection.Request.Length, connection.Name.RequestProtocol);
            _responses = new ChannelWriter<Response>(connection.Response.Memory, connection.Response.Length, connection.Name.ResponseProtocol);
            _signal = new PeerSignal<Request, Response>(ring, _requests, _responses, ways, owner._options.Wait, owner._options.Spin);
            LogSignals(_log, _id, _signal.Waiting, _signal.Waking + _signal.Looking);
            Register(connection, memory);
            PeerFeatures features = PeerFeatures.Agrees | PeerFeatures.Traits | PeerFeatures.Identity | PeerFeatures.Watch | ways.Wakes;
            _machine = new ServingMachine<RingDisks, ChannelResponses>(
                connection.ServedDevices(),
                owner._options.OffsetUnit,
                connection.Buffer.Length,
                (int)Math.Min(_requests.Elements, _responses.Elements),
                Batch,
                features,
                new Complaints(_log, _id),
                new RingDisks(ring, polled, connection.Disks, memory, smart),
                new ChannelResponses(_responses))
            {
                Stalls = owner._options.StallMilliseconds == long.MaxValue ? null : new StallLog(_log, _id, DescribePeer),
                StallMilliseconds = owner._options.StallMilliseconds,
            };
        }

        /// <summary>Requests whose I/O is under way.</summary>
        public int UnderWay => _machine.UnderWay;

        /// <summary>Opens the connection to clients.</summary>
        public void Begin()
        {
            foreach (Ring ring in _rings)
            {
                ServingRing.StartWorker(ring);
                ring.RegisterSelf();
            }

            _owner._control!.Arm(_ring, ControlCompletion);
            _smart?.Arm(_ring, SmartCompletion);
            Open();
        }

        private void Open()
        {
            // Requests that were written before this server was there were meant for another one: a client that sees the new epoch
            // of the response channel begins with a Reset. They are passed over before that epoch can be seen.
            int greeting = 0;
            if (_requests.Read([], out _) == ReadStatus.NewEpoch && !OriginalClient.Greets(_requests, _machine.Inbox, out greeting)) _requests.Drain();
            _signal.Initialise();
            _machine.BeginSession(resumed: greeting > 0);
            _machine.Accept(greeting);
            if (_budget.Allows()) LogServing(_log, _id, _owner._connection.Disks.Length);
        }

        /// <summary>Serves until it is asked to stop and nothing is under way.</summary>
        public void Serve()
        {
            while (!Ended)
            {
                _machine.Now = Environment.TickCount64;
                _machine.Tick();

                // Answers go out before the next submission: it may run I/O inline, and the client would wait for all of it.
                bool worked = CollectCompletions();
                Publish();
                if (_lost || _owner._connection.Regions.Lost is not null) LookAfterRegions();
                else LookAtMemory();
                bool accepting = !_owner._stopping && !_lost && (!_machine.Inbox.IsEmpty || _requests.BeganAnew);
                if (accepting) worked |= CollectRequests();
                if (_smart is not null && (_owner._stopping || _machine.IsDraining)) _smart.Hurry();
                if (_machine.AwaitsConfirmation) AwaitConfirmation();
                else _confirmDeadline = 0;
                Publish();

                // With little to submit and nothing to collect, submitting and sleeping are one call.
                bool few = _signal.NoteInFlight(_machine.UnderWay);
                bool fuses = few || (_ring.Queued <= FewQueued && !(accepting && _requests.HasNews));
                if (_polled is { InFlight: > 0 })
                {
                    // A wake goes out before what may take long.
                    if (_ring.HasDeferredWork || _ring.Queued > 0) _ = _ring.Enter();
                    _polled.Look();
                }
                else if (_ring.HasDeferredWork || (_ring.Queued > 0 && !fuses)) _ = _ring.Enter();
                else if ((_ring.Queued > 0 || !worked) && !Ended) _signal.Sleep(accepting, few, UntilDeadline());
            }

            AwaitHearing();
            _signal.Deactivate();
            LogStopped(_log, _id, _machine.Requests);
        }

        /// <summary>Tells clients that nobody serves them any more, after a failure. Without a wake, as the ring may be what failed: they look once a second.</summary>
        public void Abandon() => _responses.Deactivate();

        private void Publish()
        {
            if (_responses.Open == 0) return;

            // Answers to a client that is gone are not for its successor, which may take any for its own.
            if (_requests.BeganAnew)
            {
                _responses.Withdraw();
                return;
            }

            _signal.Publish();

            // What the turn has done so far may have taken long, such as copies through a bounce buffer: the last answers have their time from here on.
            _heardBy = (_owner._stopping ? Environment.TickCount64 : _machine.Now) + _owner._options.HearingMilliseconds;
        }

        /// <summary>
        /// A reader drops what it has not read when the epoch ends. It would ask again, but a Sync that failed is told of by a disk once, and a native
        /// client of the original does not ask twice. So the epoch goes on until the client has read the last answers and sleeps again, is gone, or had its time.
        /// </summary>
        private void AwaitHearing()
        {
            if (_ring.Queued > 0) _ = _ring.Enter(); // the last wake
            (ulong before, int looks) = (0, 0);
            while (Environment.TickCount64 < _heardBy && _requests.Synchronised && !_requests.BeganAnew && !_lost && _owner._connection.Regions.Lost is null)
            {
                // Before it sleeps a client that has announced it looks once more. A sleep that lasts has found nothing.
                ulong sleep = _signal.LaterSleep;
                looks = sleep != 0 && sleep == before ? looks + 1 : 0;
                if (looks == HearingLooks) return;
                before = sleep;
                Thread.Sleep(HearingLookMilliseconds);
            }
        }

        private void AwaitConfirmation()
        {
            long now = Environment.TickCount64;
            if (_confirmDeadline != 0 && now < _confirmDeadline) return;
            if (_confirmDeadline != 0) _machine.AnswerUnconfirmed();
            _confirmDeadline = now + ConfirmMilliseconds;
        }

        // Looked at before sleeping as well: after the last I/O nothing may be left to come that would end the sleep.
        private bool Ended => _owner._stopping && _machine.UnderWay == 0;

        private long UntilDeadline()
        {
            if (_machine.Deadline == long.MaxValue) return -1;
            const long nanosecondsInMillisecond = 1_000_000;
            return Math.Max(0, _machine.Deadline - _machine.Now) * nanosecondsInMillisecond;
        }

        private string DescribePeer() =>
            $"{_machine.UnderWay} under way, the client's epoch {_requests.Epoch:x}, requests written {_requests.Written} and read {_requests.Count}, responses written {_responses.Written}";

        private bool CollectCompletions()
        {
            int count = 0;
            while (count < Batch && _ring.TryTake(out Completion completion))
            {
                count++;
                if (completion.UserData < SmartCompletion) _machine.Complete((uint)completion.UserData, completion.Result);
                else if (completion.UserData == ControlCompletion) TakeControl();
                else if (completion.UserData == SmartCompletion) CollectSmart();
                else _signal.Complete(completion);
                if (_responses.IsWorthPublishing) Publish();
            }

            if (count > 0) _ring.Release();
            if (_polled is null) return count > 0;

            // What was taken is given back with the next look.
            while (count < 2 * Batch && _polled.TryTake(out Completion completion))
            {
                count++;
                _machine.Complete((uint)completion.UserData, completion.Result);
                if (_responses.IsWorthPublishing) Publish();
            }

            return count > 0;
        }

        private void TakeControl()
        {
            _looked = true;
            _owner._control!.Arm(_ring, ControlCompletion);
            for (int i = 0; i < _owner._sizes.Length; i++)
            {
                ulong before = _machine.SizeOf(i);
                ulong size = Volatile.Read(ref _owner._sizes[i]);
                if (size == before) continue;
                _machine.Resize(i, size);
                string path = _owner._connection.Disks[i].Path;
                if (size > before) LogGrown(_log, _id, i, path, before, size);
                else LogShrunk(_log, _id, i, path, before, size);
            }
        }

        private void CollectSmart()
        {
            // Armed before looking: an answer that comes behind the look is told of by the next completion.
            _smart!.Arm(_ring, SmartCompletion);
            while (_smart.TryTake(out uint slot, out SmartStatus status)) _machine.Complete(slot, (int)status);
        }

        private bool CollectRequests()
        {
            if (!_requests.HasNews) return false;
            Span<Request> inbox = _machine.Inbox;
            inbox = inbox[..Math.Min(inbox.Length, _batchSize.Next(_machine.UnderWay))];
            ReadStatus status = _requests.Read(inbox, out int count);
            switch (status)
            {
                case ReadStatus.NoData:
                    return false;
                case ReadStatus.Success:
                    if (!_responses.FirstExpired && OriginalClient.HasReadAnswers(_requests)) _responses.ExpireFirst();
                    _batchSize.Took(inbox[..count], _requests.HasNews);
                    _machine.Accept(count);
                    _signal.Agree(_machine.ClientFeatures);
                    return true;
                case ReadStatus.NewEpoch:
                    bool isOriginal = OriginalClient.Is(_requests);
                    if (!isOriginal && _responses.FirstExpired) _signal.Initialise();
                    BeginSession(resumed: isOriginal && _responses.FirstExpired);
                    _nextLook = 0;
                    _greeted = true;
                    if (_budget.Allows()) LogClient(_log, _id);
                    _requestsBefore = _machine.Requests;
                    _meter.Restart();
                    _path.Restart(_signal.Sleeps, _signal.Wakes);
                    return true;
                case ReadStatus.Inactive:
                    BeginSession();
                    if (_greeted && _budget.Allows())
                    {
                        ulong requests = _machine.Requests - _requestsBefore;
                        LogClientLeft(_log, _id, requests, _meter.Bytes, _meter.Collections);
                        LogPath(_log, _id, _path.Describe(_signal.Sleeps, _signal.Wakes, requests));
                    }

                    _greeted = false;
                    return true;
                case ReadStatus.Incompatible:
                    BeginSession();
                    if (_budget.Allows()) LogIncompatible(_log, _id, _requests.DescribeHeader());
                    return true;
                default:
                    // Requests are lost, and nobody knows which: all of the session is void. A new epoch tells the client.
                    BeginSession();
                    _signal.Initialise();
                    if (_budget.Allows()) LogOverrun(_log, _id, _requests.Elements);
                    return true;
            }
        }

        private void BeginSession(bool resumed = false)
        {
            _signal.Forget();
            _machine.BeginSession(resumed);
        }
    }
}
