using System.Diagnostics;
using MuenBlock.IoUring;
using MuenBlock.Protocol;
using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using MuenBlock.Protocol.Signals;

namespace MuenBlock.Load;

/// <summary>A client without a block device: it drives a backend over the rings, as muenblock-ublk's connection thread does.</summary>
internal sealed class ChannelLoad : IDisposable
{
    private const int Batch = 64;
    private const uint FewQueued = 4; // as in the two programs
    private const int SectorShift = 9;
    private const long AnswerMilliseconds = 5000;

    private readonly Job _job;
    private readonly Region _request;
    private readonly Region _response;
    private readonly Region _buffer;
    private readonly Ring _ring;
    private readonly ChannelWriter<Request> _requests;
    private readonly ChannelReader<Response> _responses;
    private readonly SignalWays _ways;
    private readonly PeerSignal<Response, Request> _signal;
    private readonly Response[] _inbox = new Response[Batch];

    /// <summary>Opens the regions.</summary>
    /// <param name="directory">Where they are.</param>
    /// <param name="name">The connection.</param>
    /// <param name="job">What to do.</param>
    public ChannelLoad(string directory, ConnectionString name, Job job)
    {
        _job = job;
        _request = Region.Open(directory, name.Request, writable: true, ConnectionString.MinimumChannelSize);
        _response = Region.Open(directory, name.Response, writable: false, ConnectionString.MinimumChannelSize);
        _buffer = Region.Open(directory, name.Buffer, writable: true, Region.PageSize);
        if ((nuint)job.Depth * (nuint)job.BlockSize > _buffer.Length) throw new ProgramException(ExitCode.Usage, "the buffer does not hold so many transfers of that size");
        unsafe
        {
            _requests = new ChannelWriter<Request>(_request.Memory, _request.Length, name.RequestProtocol);
            _responses = new ChannelReader<Response>(_response.Memory, _response.Length, name.ResponseProtocol);
        }

        if (job.Depth > Math.Min(_requests.Elements, _responses.Elements)) throw new ProgramException(ExitCode.Usage, "the channels do not hold so many transfers");
        _ring = Ring.Create(new RingOptions { Entries = 256, CompletionEntries = 4096 });
        _ring.RegisterSelf();
        _ways = SignalWays.Find(_response, _request, eventDirectory: null);
        _signal = new PeerSignal<Response, Request>(_ring, _responses, _requests, _ways, WaitMode.Auto, job.Spin);
    }

    /// <summary>Greets the backend and runs the job.</summary>
    public void Run()
    {
        _signal.Initialise();
        long deadline = Environment.TickCount64 + AnswerMilliseconds;
        while (_responses.Read(_inbox, out _) != ReadStatus.NewEpoch)
        {
            if (Environment.TickCount64 > deadline) throw new ProgramException(ExitCode.Peer, "no backend serves the connection");
            Thread.Sleep(1);
        }

        _responses.Drain();
        _ = Ask(RequestKind.Reset, 0);
        _signal.Agree((PeerFeatures)Ask(RequestKind.Features, (ulong)(PeerFeatures.Agrees | _ways.Wakes)));

        ulong transfers = 0;
        int inFlight = _job.Depth;
        ulong entersBefore = _ring.Enters;
        long start = Stopwatch.GetTimestamp();
        long end = start + (long)(_job.Duration.TotalSeconds * Stopwatch.Frequency);
        for (int slot = 0; slot < _job.Depth; slot++) Submit((uint)slot);
        _signal.Publish();
        while (inFlight > 0)
        {
            bool worked = Collect();
            ReadStatus status = _responses.HasNews ? _responses.Read(_inbox, out int count) : None(out count);
            if (status is not (ReadStatus.Success or ReadStatus.NoData)) throw new ProgramException(ExitCode.Peer, $"the response channel: {status}");
            bool more = count > 0 && Stopwatch.GetTimestamp() < end;
            foreach (ref readonly Response response in _inbox.AsSpan(0, count))
            {
                if (response.Status != 0) throw new ProgramException(ExitCode.Peer, $"a transfer failed with status {response.Status}");
                transfers++;
                if (more) Submit(response.Tag);
                else inFlight--;
                if (_requests.IsWorthPublishing) _signal.Publish();
            }

            if (_requests.Open > 0) _signal.Publish();
            bool few = _signal.NoteInFlight(inFlight);
            bool fuses = few || (_ring.Queued <= FewQueued && !_responses.HasNews);
            if (_ring.HasDeferredWork || (_ring.Queued > 0 && !fuses)) _ = _ring.Enter();
            else if (inFlight > 0 && (_ring.Queued > 0 || (!worked && count == 0))) _signal.Sleep(expectPeer: true, few);
        }

        _job.Report("channel", transfers, Stopwatch.GetElapsedTime(start), _ring.Enters - entersBefore, _signal.Sleeps);
        _signal.Deactivate();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _ring.Dispose();
        _ways.Dispose();
        _buffer.Dispose();
        _response.Dispose();
        _request.Dispose();
    }

    private static ReadStatus None(out int count)
    {
        count = 0;
        return ReadStatus.NoData;
    }

    private bool Collect()
    {
        bool worked = false;
        while (_ring.TryTake(out Completion completion))
        {
            worked = true;
            _signal.Complete(completion);
        }

        if (worked) _ring.Release();
        return worked;
    }

    private void Submit(uint slot)
    {
        ref Request request = ref _requests.Next();
        request.Kind = _job.Write ? RequestKind.Write : RequestKind.Read;
        request.Device = 0;
        request.Tag = slot;
        request.Length = (ulong)_job.BlockSize;
        request.DeviceOffset = _job.NextOffset() >> SectorShift;
        request.BufferOffset = slot * (ulong)_job.BlockSize;
    }

    private ulong Ask(RequestKind kind, ulong length)
    {
        ref Request request = ref _requests.Next();
        request = new Request { Kind = kind, Tag = uint.MaxValue, Length = length };
        _signal.Publish();
        long deadline = Environment.TickCount64 + AnswerMilliseconds;
        while (Environment.TickCount64 < deadline)
        {
            if (_responses.Read(_inbox.AsSpan(0, 1), out int count) == ReadStatus.Success && count == 1 && _inbox[0].Kind == kind) return _inbox[0].Status;
            if (_ring.Queued > 0) _ = _ring.Enter();
            Thread.Sleep(1);
        }

        throw new ProgramException(ExitCode.Peer, $"the backend does not answer {kind}");
    }
}
