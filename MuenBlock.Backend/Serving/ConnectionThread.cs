using Microsoft.Extensions.Logging;
using MuenBlock.IoUring;
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

    // So few entries are worth no call of their own: they go out with the one that sleeps.
    private const uint FewQueued = 4;

    // Sessions begin and end by the hand of an operator; what comes more often than this is a client gone wrong.
    private const int SessionLinesInMinute = 60;

    // The original's native client follows up each answer of the greeting within microseconds. One that does not waits for an answer.
    private const long ConfirmMilliseconds = 1_000;

    private const long LookMilliseconds = 1_000;

    private const int HearingLookMilliseconds = 10;

    // A client that announces a sleep and finds news after all is awake again long before, also where it loses its CPU in between.
    private const int HearingLooks = 10;

    private const ulong ControlCompletion = PeerSignal<Request, Response>.BeatCompletion - 1;
    private const ulong SmartCompletion = ControlCompletion - 1;

    private readonly Connection _connection;
    private readonly ConnectionOptions _options;
    private readonly ILogger _log;
    private readonly Thread _thread;
    private readonly Action _ended;
    private readonly ManualResetEventSlim _prepared = new();
    private readonly ManualResetEventSlim _go = new();
    private readonly ManualResetEventSlim _serving = new();
    private readonly ulong[] _sizes;
    private readonly bool[] _vanished;
    private WakeUp? _control;
    private Loop? _loop;
    private volatile bool _stopping;
    private volatile bool _hasEnded = true;
    private Exception? _failure;

    /// <summary>Prepares to serve. <see cref="Start"/> begins.</summary>
    /// <param name="connection">What is served.</param>
    /// <param name="options">How.</param>
    /// <param name="log">Where to log.</param>
    /// <param name="ended">Called on the thread when it has ended, in whatever way.</param>
    public ConnectionThread(Connection connection, ConnectionOptions options, ILogger log, Action ended)
    {
        _ended = ended;
        _connection = connection;
        _sizes = [.. connection.Disks.Select(disk => disk.Size)];
        _vanished = new bool[_sizes.Length];
        _options = options;
        _log = log;
        _thread = new Thread(Run) { Name = $"connection {connection.Name.Id}", IsBackground = true };
    }

    /// <summary>The connection's id.</summary>
    public uint Id => _connection.Name.Id;

    /// <summary>Why the connection ended, if that was a fault of the program or of the kernel instead of <see cref="Stop"/>.</summary>
    public Exception? Failure => Volatile.Read(ref _failure);

    /// <summary>Whether the thread does not serve yet, or no longer.</summary>
    public bool HasEnded => _hasEnded;

    /// <summary>Requests whose I/O is under way, as another thread sees it.</summary>
    public int UnderWay => Volatile.Read(ref _loop)?.UnderWay ?? 0;

    /// <summary>Starts the thread and returns when it has all that it needs of the system; no client is served yet.</summary>
    /// <exception cref="ProgramException">The ring could not be set up.</exception>
    public void Prepare()
    {
        try
        {
            _control = new WakeUp();
        }
        catch (RingException failure)
        {
            throw CannotStart(failure);
        }

        Threads.Start(_thread);
        _prepared.Wait();
        if (Failure is not { } found) return;
        _thread.Join();
        throw found is ProgramException ? found : CannotStart(found);
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
        _control?.Signal();
    }

    /// <summary>Looks whether the regions still have their size, or have it again; to be called now and then, on another thread.</summary>
    public void LookAtRegions()
    {
        if (_connection.Regions.LookForLoss()) _control?.Signal();
    }

    /// <summary>Looks whether the disks still have the size that clients know; to be called now and then, on another thread.</summary>
    public void LookAtDisks()
    {
        bool changed = false;
        for (int i = 0; i < _sizes.Length; i++)
        {
            // What has none is not told to clients as a size: for them it is the disk that it was, and its I/O fails.
            ulong size = _connection.Disks[i].LookAtSize();
            if (size == 0 && !_vanished[i]) LogVanished(_log, Id, i, _connection.Disks[i].Path);
            _vanished[i] = size == 0;
            if (size == 0 || size == Volatile.Read(ref _sizes[i])) continue;
            Volatile.Write(ref _sizes[i], size);
            changed = true;
        }

        if (changed) _control?.Signal();
    }

    /// <summary>Waits until the thread, if it was started, has ended.</summary>
    public void Join()
    {
        if (_thread.ThreadState.HasFlag(ThreadState.Unstarted)) return;
        _thread.Join();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _prepared.Dispose();
        _go.Dispose();
        _serving.Dispose();
        _control?.Dispose();
    }

    private void Run()
    {
        _hasEnded = false;
        try
        {
            if (_options.Cpus.Count > 0) Pin(_options.Cpus);
            using var memory = new DiskMemory(_connection.Buffer, _options.CanBePinned(_connection.Buffer));
            using Ring ring = ServingRing.Create(_options.SubmissionThreadIdle);
            using PolledRing? polled = _options.PollsDisks ? PolledRing.TryCreate(_connection, _log) : null;
            using SmartThread? smart = SmartThread.StartIfNeeded(_connection);
            using var ways = SignalWays.Find(_connection.Request, _connection.Response, _options.EventDirectory);
            _loop = new Loop(this, ring, polled, memory, ways, smart);
            _prepared.Set();
            _go.Wait();
            if (_stopping) return;
            _loop.Begin();
            _serving.Set();
            _loop.Serve();
        }
        catch (Exception failure)
        {
            // A ring's message says what is wrong and what to do; of what nobody expected, where it came from is worth more.
            if (_prepared.IsSet) LogFailed(_log, Id, failure is RingException ? failure.Message : failure.ToString().ReplaceLineEndings(" "));
            _loop?.Abandon();
            Volatile.Write(ref _failure, failure);
        }
        finally
        {
            _hasEnded = true;
            _prepared.Set();
            _serving.Set();
            _ended();
        }
    }

    private ProgramException CannotStart(Exception failure) => new(ExitCode.Environment, $"connection {Id}: {failure.Message}", failure);

    private void Pin(IReadOnlyList<int> cpus)
    {
        if (CpuChoice.PinThisThread(cpus)) LogPinned(_log, Id, CpuChoice.Describe(cpus));
        else LogNotPinned(_log, Id, CpuChoice.Describe(cpus));
    }
}
