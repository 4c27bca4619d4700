using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using MuenBlock.IoUring;
using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using MuenBlock.Protocol.Signals;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Queues;

/// <summary>
/// The thread of a connection: it greets the server and then carries block I/O of all the connection's devices. It alone touches
/// the connection's ring, channels and table of I/Os: there are no locks. Its loop is the one of docs/architecture.md: collect
/// what the kernel wants, publish, collect answers, submit, and sleep when there was nothing.
/// </summary>
internal sealed partial class ConnectionThread : IDisposable
{
    private const ulong ControlCompletion = PeerSignal<Response, Request>.BeatCompletion - 1;

    private const int GiveUpMilliseconds = 20; // how soon whoever asks this program to end is heard

    private readonly ConnectionRegions _regions;
    private readonly ConnectionOptions _options;
    private readonly JoinedSessions.Member? _joined;
    private readonly ILogger _log;
    private readonly Thread _thread;
    private readonly Action _news;
    private readonly WakeUp _control = new();
    private readonly ManualResetEventSlim _greeted = new();
    private readonly ManualResetEventSlim _taken = new();
    private volatile bool _stopping;
    private volatile Assignment? _assignment;
    private volatile Exception? _failure;
    private volatile string? _state;
    private volatile ChannelReader<Response>? _responses;
    private volatile DeviceGeometry[] _devices = [];
    private volatile bool _asksSizes;
    private volatile bool _lostBuffer;
    private int _sizeAnswers;
    private int _sizeFailures;
    private unsafe byte* _elsewhere;

    /// <summary>Prepares the connection. <see cref="Begin"/> begins.</summary>
    /// <param name="regions">Its regions.</param>
    /// <param name="options">How it is used.</param>
    /// <param name="joined">Its session among those of joined connections, or null.</param>
    /// <param name="log">Where to log.</param>
    /// <param name="news">Called on the thread when there is something to look at: a size, or its end, for whatever reason.</param>
    public ConnectionThread(ConnectionRegions regions, ConnectionOptions options, JoinedSessions.Member? joined, ILogger log, Action news)
    {
        _joined = joined;
        _news = news;
        _regions = regions;
        _options = options;
        _log = log;
        _thread = new Thread(Run) { Name = $"connection {regions.Name.Id}", IsBackground = true };
    }

    /// <summary>What ended the thread before its time; null if nothing did.</summary>
    public Exception? Failure => _failure;

    /// <summary>I/O that the two channels hold, beside the questions that a session may have under way (invariant I1).</summary>
    public uint MostInFlight { get; private set; }

    /// <summary>What the server can do beyond muenblock 2.0, as it said when it was met.</summary>
    public PeerFeatures ServerFeatures { get; private set; }

    /// <summary>The devices as the server described them last: sizes that cannot be had included. The index is the id on the connection.</summary>
    public IReadOnlyList<DeviceGeometry> Devices => _devices;

    /// <summary>Whether the buffer was ever cut off, so that it has other pages since than those that the driver was given.</summary>
    public bool HasLostBuffer => _lostBuffer;

    /// <summary>How many <see cref="AskSizes"/> have come to an end, and how many of these without an answer.</summary>
    public (int All, int Failed) SizeAnswers => (Volatile.Read(ref _sizeAnswers), Volatile.Read(ref _sizeFailures));

    /// <summary>Whether the kernel can make devices larger while they are used.</summary>
    public required bool Grows { get; init; }

    /// <summary>Whether it is known which disks the devices are, from a server before.</summary>
    public required bool KnowsDisks { get; init; }

    /// <summary>Starts the thread, which greets the server.</summary>
    /// <exception cref="ProgramException">It cannot be started.</exception>
    public void Begin() => Threads.Start(_thread);

    /// <summary>Waits until the server has told what it has.</summary>
    /// <param name="deadline">Until when, in <see cref="Environment.TickCount64"/>'s milliseconds.</param>
    /// <param name="giveUp">Whether to wait no longer; asked again and again.</param>
    /// <returns>The devices; the index is the id on the connection.</returns>
    /// <exception cref="ProgramException">No server answered, or none that can be used, or it was given up.</exception>
    public IReadOnlyList<DeviceGeometry> Connect(long deadline, Func<bool> giveUp)
    {
        while (!_greeted.Wait(GiveUpMilliseconds))
        {
            if (giveUp()) throw new ProgramException(ExitCode.Busy, $"asked to end while the backend of connection {_regions.Name.Id} was waited for");
            if (Environment.TickCount64 >= deadline) break;
        }

        ThrowFailure();
        if (!_greeted.IsSet)
        {
            throw new ProgramException(
                ExitCode.Peer,
                $"connection {_regions.Name.Id}: no backend answered in time ({_state ?? "its response channel is inactive"}): is the backend running, with the same regions, protocols and --region-dir?");
        }

        return _devices;
    }

    /// <summary>Says what ended the thread before its time, if anything did.</summary>
    /// <exception cref="ProgramException">That did.</exception>
    public void ThrowFailure()
    {
        if (_failure is ProgramException) throw _failure;
        if (_failure is not null) throw new ProgramException(ExitCode.Environment, $"connection {_regions.Name.Id}: {_failure.Message}", _failure);
    }

    /// <summary>Takes the memory that <see cref="Assign"/> needs; of a size that there may not be.</summary>
    /// <param name="layout">How the buffer is cut.</param>
    /// <param name="bounce">What stands in for the buffer, or null.</param>
    /// <exception cref="ProgramException">There is too little.</exception>
    public unsafe void Prepare(BufferLayout layout, BounceBuffer? bounce)
    {
        if (bounce is not null) return;
        nuint length = (nuint)layout.Slots * layout.SlotSize;
        try
        {
            _elsewhere = (byte*)NativeMemory.AlignedAlloc(length, Region.PageSize);
        }
        catch (OutOfMemoryException failure)
        {
            throw new ProgramException(ExitCode.Environment, $"connection {_regions.Name.Id}: cannot take {length} bytes for I/O that is given up: free memory, raise the limit on locked memory (ulimit -l), or use a smaller buffer", failure);
        }
    }

    /// <summary>Hands over the devices. From now on their tags are fetched, and the thread ends when all of them have ended.</summary>
    /// <param name="layout">How the buffer is cut.</param>
    /// <param name="queues">Its queue of each device that is served; all have the same number.</param>
    /// <param name="promises">What the kernel was promised of each.</param>
    /// <param name="bounce">What stands in for the buffer where the driver cannot reach it, or null. It outlives the thread.</param>
    /// <param name="cpus">On which CPUs the thread runs from now on; any, if there are none.</param>
    /// <param name="sharesMemory">Whether what lies behind the slots is the memory that applications share with the devices.</param>
    public void Assign(BufferLayout layout, IReadOnlyList<DeviceQueue> queues, IReadOnlyList<DevicePromise> promises, BounceBuffer? bounce, IReadOnlyList<int> cpus, bool sharesMemory)
    {
        _assignment = new Assignment(layout, [.. queues], [.. promises], bounce, cpus, sharesMemory);
        _control.Signal();
    }

    /// <summary>Waits until the thread has taken what was handed over. Until then it may lack the memory, or the driver's file.</summary>
    /// <exception cref="ProgramException">It has failed, and takes nothing.</exception>
    public void AwaitTaken()
    {
        _taken.Wait();
        ThrowFailure();
    }

    /// <summary>Ends the thread at once. For a connection that has no devices yet.</summary>
    public void Stop()
    {
        _stopping = true;
        _control.Signal();
    }

    /// <summary>
    /// Looks whether the regions still have their size, or have it again, and whether the server has said anything while nothing was expected of it; to be
    /// called now and then, on another thread.
    /// </summary>
    public void LookAtRegions()
    {
        if (_regions.All.LookForLoss() || _responses is { HasNews: true }) _control.Signal();
    }

    /// <summary>Asks the server for the sizes of its devices. Ends in <see cref="SizeAnswers"/>.</summary>
    public void AskSizes()
    {
        _asksSizes = true;
        _control.Signal();
    }

    /// <summary>Waits for the thread's end.</summary>
    public void Join()
    {
        if ((_thread.ThreadState & ThreadState.Unstarted) == 0) _thread.Join();
    }

    /// <inheritdoc/>
    public unsafe void Dispose()
    {
        NativeMemory.AlignedFree(_elsewhere);
        _elsewhere = null;
        _control.Dispose();
        _greeted.Dispose();
        _taken.Dispose();
    }

    private void Run()
    {
        try
        {
            using Ring ring = Ring.Create(new RingOptions { Entries = 256, CompletionEntries = 4096 });
            using var ways = SignalWays.Find(_regions.Response, _regions.Request, _options.EventDirectory);
            var loop = new Loop(this, ring, ways);
            try
            {
                loop.Run();
            }
            finally
            {
                loop.End();
            }
        }
        catch (Exception failure)
        {
            _failure = failure;
            LogFailed(_log, _regions.Name.Id, failure);
        }
        finally
        {
            _greeted.Set();
            _taken.Set();
            _news();
        }
    }

    private sealed record Assignment(BufferLayout Layout, DeviceQueue[] Queues, DevicePromise[] Promises, BounceBuffer? Bounce, IReadOnlyList<int> Cpus, bool SharesMemory);
}
