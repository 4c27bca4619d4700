using Microsoft.Extensions.Logging;
using MuenBlock.IoUring;
using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Signals;

namespace MuenBlock.Backend.Serving;

/// <summary>
/// The thread that serves a connection. It alone touches the connection's ring, channels and requests: there are no locks.
/// Its loop is the one of docs/architecture.md: collect completions, publish, collect requests, submit, and sleep when there was nothing.
/// </summary>
internal sealed partial class ConnectionThread : IDisposable
{
    // Large enough that a batch pays for its system call many times, small enough that a peer does not wait for the whole of a deep queue.
    private const int Batch = 64;

    private const uint SubmissionEntries = 256; // several batches; more are submitted in between

    // More requests under way than this keep both ends busy without looking.
    private const int FewUnderWay = 4;

    // So few entries are worth no call of their own: they go out with the one that sleeps.
    private const uint FewQueued = 4;

    // Sessions begin and end by the hand of an operator; what comes more often than this is a client gone wrong.
    private const int SessionLinesInMinute = 60;

    // The original's native client follows up each answer of the greeting within microseconds. One that does not waits for an answer.
    private const long ConfirmMilliseconds = 1_000;

    private const long LookMilliseconds = 1_000;

    private const ulong ControlCompletion = ulong.MaxValue - 2;
    private const ulong SmartCompletion = ulong.MaxValue - 3;

    private readonly Connection _connection;
    private readonly ConnectionOptions _options;
    private readonly ILogger _log;
    private readonly WakeUp _control = new();
    private readonly Thread _thread;
    private readonly Action _failed;
    private readonly ManualResetEventSlim _prepared = new();
    private readonly ManualResetEventSlim _go = new();
    private readonly ManualResetEventSlim _serving = new();
    private readonly ulong[] _sizes;
    private volatile bool _stopping;
    private Exception? _startFailure;

    /// <summary>Prepares to serve. <see cref="Start"/> begins.</summary>
    /// <param name="connection">What is served.</param>
    /// <param name="options">How.</param>
    /// <param name="log">Where to log.</param>
    /// <param name="failed">Called on the thread if it ends by a fault.</param>
    public ConnectionThread(Connection connection, ConnectionOptions options, ILogger log, Action failed)
    {
        _failed = failed;
        _connection = connection;
        _sizes = [.. connection.Disks.Select(disk => disk.Size)];
        _options = options;
        _log = log;
        _thread = new Thread(Run) { Name = $"connection {connection.Name.Id}", IsBackground = true };
    }

    /// <summary>Whether the connection ended by a fault of the program or of the kernel instead of <see cref="Stop"/>.</summary>
    public bool Failed { get; private set; }

    /// <summary>Starts the thread and returns when it has all that it needs of the system; no client is served yet.</summary>
    /// <exception cref="ProgramException">The ring could not be set up.</exception>
    public void Prepare()
    {
        _thread.Start();
        _prepared.Wait();
        if (_startFailure is null) return;
        _thread.Join();
        throw _startFailure is ProgramException
            ? _startFailure
            : new ProgramException(ExitCode.Environment, $"connection {_connection.Name.Id}: {_startFailure.Message}", _startFailure);
    }

    /// <summary>Returns when clients can connect, or the thread has failed.</summary>
    public void Start()
    {
        _go.Set();
        _serving.Wait();
    }

    /// <summary>Asks the thread to accept nothing more, to finish what is under way and to end.</summary>
    public void Stop()
    {
        _stopping = true;
        _go.Set();
        _control.Signal();
    }

    /// <summary>Looks whether the regions still have their size, or have it again; to be called now and then, on another thread.</summary>
    public void LookAtRegions()
    {
        if (_connection.Regions.LookForLoss()) _control.Signal();
    }

    /// <summary>Looks whether the disks still have the size that clients know; to be called now and then, on another thread.</summary>
    public void LookAtDisks()
    {
        bool changed = false;
        for (int i = 0; i < _sizes.Length; i++)
        {
            // One that has vanished may come back as it was. Its I/O fails meanwhile.
            ulong size = _connection.Disks[i].LookAtSize();
            if (size == 0 || size == Volatile.Read(ref _sizes[i])) continue;
            Volatile.Write(ref _sizes[i], size);
            changed = true;
        }

        if (changed) _control.Signal();
    }

    /// <summary>Waits until the thread has ended.</summary>
    public void Join() => _thread.Join();

    /// <inheritdoc/>
    public void Dispose()
    {
        _prepared.Dispose();
        _go.Dispose();
        _serving.Dispose();
        _control.Dispose();
    }

    private void Run()
    {
        try
        {
            if (_options.Cpus.Count > 0) Pin(_options.Cpus);
            using var memory = new DiskMemory(_connection.Buffer, _options.CanBePinned(_connection.Buffer));
            using Ring ring = Ring.Create(new RingOptions { Entries = SubmissionEntries, CompletionEntries = 4096, SubmissionThreadIdle = _options.SubmissionThreadIdle });
            using PolledRing? polled = _options.PollsDisks ? PolledRing.TryCreate(_connection, SubmissionEntries, _log) : null;
            using SmartThread? smart = SmartThread.StartIfNeeded(_connection);
            using var ways = SignalWays.Find(_connection.Request, _connection.Response, _options.EventDirectory);
            var loop = new Loop(this, ring, polled, memory, ways, smart);
            _prepared.Set();
            _go.Wait();
            if (_stopping) return;
            loop.Begin();
            _serving.Set();
            loop.Serve();
        }
        catch (Exception failure)
        {
            if (_prepared.IsSet) LogFailed(_log, _connection.Name.Id, failure);
            else _startFailure = failure;
            Failed = true;
            _failed();
        }
        finally
        {
            _prepared.Set();
            _serving.Set();
        }
    }

    private void Pin(IReadOnlyList<int> cpus)
    {
        if (CpuChoice.PinThisThread(cpus)) LogPinned(_log, _connection.Name.Id, CpuChoice.Describe(cpus));
        else LogNotPinned(_log, _connection.Name.Id, CpuChoice.Describe(cpus));
    }

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
        private readonly DiskMemory _memory;
        private ulong _requestsBefore;
        private bool _greeted; // a client's epoch was seen, and not its end
        private bool _lost;
        private bool _looked;
        private long _nextLook;
        private long _confirmDeadline;

        public unsafe Loop(ConnectionThread owner, Ring ring, PolledRing? polled, DiskMemory memory, SignalWays ways, SmartThread? smart)
        {
            Connection connection = owner._connection;
            _owner = owner;
            _ring = ring;
            _polled = polled;
            _rings = polled is null ? [ring] : [ring, polled.Ring];
            _path = new PathMeter(ring);
            _memory = memory;
            _smart = smart;
            _log = owner._log;
            _id = connection.Name.Id;
            _budget = new LineBudget(_log, $"connection {_id}, sessions", SessionLinesInMinute);
            _requests = new ChannelReader<Request>(connection.Request.Memory, connection.Request.Length, connection.Name.RequestProtocol);
            _responses = new ChannelWriter<Response>(connection.Response.Memory, connection.Response.Length, connection.Name.ResponseProtocol);
            _signal = new PeerSignal<Request, Response>(ring, _requests, _responses, ways, owner._options.Wait, owner._options.Spin);
            LogSignals(_log, _id, _signal.Waiting, _signal.Waking);
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

        /// <summary>Opens the connection to clients.</summary>
        public void Begin()
        {
            foreach (Ring ring in _rings) ring.RegisterSelf();
            _owner._control.Arm(_ring, ControlCompletion);
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
                _machine.Watch();

                // Answers go out before the next submission: it may run I/O inline, and the client would wait for all of it.
                bool worked = CollectCompletions();
                Publish();
                if (_lost || _owner._connection.Regions.Lost is not null) LookAfterRegions();
                else LookAtMemory();
                bool accepting = !_owner._stopping && !_lost && (!_machine.Inbox.IsEmpty || _requests.BeganAnew);
                if (accepting) worked |= CollectRequests();
                if (_machine.AwaitsConfirmation) AwaitConfirmation();
                else _confirmDeadline = 0;
                Publish();

                // With little to submit and nothing to collect, submitting and sleeping are one call.
                bool few = _machine.UnderWay <= FewUnderWay;
                bool fuses = few || (_ring.Queued <= FewQueued && !(accepting && _requests.HasNews));
                if (_polled is { InFlight: > 0 })
                {
                    _polled.Look();
                    if (_ring.HasDeferredWork || _ring.Queued > 0) _ = _ring.Enter();
                }
                else if (_ring.HasDeferredWork || (_ring.Queued > 0 && !fuses)) _ = _ring.Enter();
                else if ((_ring.Queued > 0 || !worked) && !Ended) _signal.Sleep(accepting, few, UntilDeadline());
            }

            _signal.Deactivate();
            LogStopped(_log, _id, _machine.Requests);
        }

        private void Publish()
        {
            if (_responses.Open == 0) return;

            // Answers to a client that is gone are not for its successor, which may take any for its own.
            if (_requests.BeganAnew) _responses.Withdraw();
            else _signal.Publish();
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
            return Math.Max(0, _machine.Deadline - Environment.TickCount64) * nanosecondsInMillisecond;
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
            }

            if (count > 0) _ring.Release();
            if (_polled is null) return count > 0;

            // What was taken is given back with the next look.
            while (count < 2 * Batch && _polled.TryTake(out Completion completion))
            {
                count++;
                _machine.Complete((uint)completion.UserData, completion.Result);
            }

            return count > 0;
        }

        private void TakeControl()
        {
            _looked = true;
            _owner._control.Arm(_ring, ControlCompletion);
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
            ReadStatus status = _requests.Read(_machine.Inbox, out int count);
            switch (status)
            {
                case ReadStatus.NoData:
                    return false;
                case ReadStatus.Success:
                    if (!_responses.FirstExpired && OriginalClient.HasReadAnswers(_requests)) _responses.ExpireFirst();
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
            _signal.Agree(PeerFeatures.None);
            _machine.BeginSession(resumed);
        }
    }
}
