using System.Diagnostics;
using System.Globalization;
using MuenBlock.Protocol;
using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;

namespace MuenBlock.Load;

/// <summary>The two channels alone, between two processes that look all the time: what bench/peers/twin/pair.c does in C.</summary>
internal static unsafe class PairLoad
{
    private const int Batch = 64;
    private const int RoundsPerLook = 64; // at the clock
    private const string Names = "1:req:resp:mem";

    /// <summary>Answers requests until the other end leaves.</summary>
    /// <param name="directory">Where the regions are.</param>
    public static void Serve(string directory)
    {
        var name = ConnectionString.Parse(Names);
        using Region request = Region.Open(directory, name.Request, writable: false, ConnectionString.MinimumChannelSize);
        using Region response = Region.Open(directory, name.Response, writable: true, ConnectionString.MinimumChannelSize);
        var requests = new ChannelReader<Request>(request.Memory, request.Length, name.RequestProtocol);
        var responses = new ChannelWriter<Response>(response.Memory, response.Length, name.ResponseProtocol);
        responses.Initialise(Epoch.New());
        var inbox = new Request[Batch];
        bool met = false;
        while (true)
        {
            ReadStatus status = requests.HasNews ? requests.Read(inbox, out int count) : None(out count);
            if (status == ReadStatus.Inactive && met) return;
            met |= status == ReadStatus.NewEpoch;
            if (count == 0)
            {
                if (met) Thread.SpinWait(1);
                else Thread.Sleep(1);
                continue;
            }

            foreach (ref readonly Request asked in inbox.AsSpan(0, count))
            {
                responses.Next() = new Response { Kind = asked.Kind, Device = asked.Device, Tag = asked.Tag, Status = asked.DeviceOffset - asked.DeviceOffset };
                if (responses.IsWorthPublishing) responses.Publish();
            }

            if (responses.Open > 0) responses.Publish();
        }
    }

    /// <summary>Asks for so long, and prints how many requests were answered per second.</summary>
    /// <param name="directory">Where the regions are.</param>
    /// <param name="depth">Requests in flight.</param>
    /// <param name="duration">How long.</param>
    public static void Drive(string directory, int depth, TimeSpan duration)
    {
        const int milliseconds = 20; // for the other end to see the new epoch
        var name = ConnectionString.Parse(Names);
        using Region request = Region.Open(directory, name.Request, writable: true, ConnectionString.MinimumChannelSize);
        using Region response = Region.Open(directory, name.Response, writable: false, ConnectionString.MinimumChannelSize);
        var requests = new ChannelWriter<Request>(request.Memory, request.Length, name.RequestProtocol);
        var responses = new ChannelReader<Response>(response.Memory, response.Length, name.ResponseProtocol);
        requests.Initialise(Epoch.New());
        var inbox = new Response[Batch];
        while (responses.Read(inbox, out _) != ReadStatus.NewEpoch) Thread.Sleep(1);
        responses.Drain();
        Thread.Sleep(milliseconds);

        ulong answered = 0;
        uint inFlight = 0;
        long start = Stopwatch.GetTimestamp();
        long end = start + (long)(duration.TotalSeconds * Stopwatch.Frequency);
        for (; inFlight < (uint)depth; inFlight++) Ask(requests, inFlight, answered);
        requests.Publish();
        bool more = true;
        for (ulong round = 0; inFlight > 0; round++)
        {
            ReadStatus status = responses.HasNews ? responses.Read(inbox, out int count) : None(out count);
            if (status is not (ReadStatus.Success or ReadStatus.NoData)) throw new ProgramException(ExitCode.Peer, $"the response channel: {status}");
            if (round % RoundsPerLook == 0) more = Stopwatch.GetTimestamp() < end;
            if (count == 0)
            {
                Thread.SpinWait(1);
                continue;
            }

            foreach (ref readonly Response answer in inbox.AsSpan(0, count))
            {
                if (answer.Status != 0) throw new ProgramException(ExitCode.Peer, $"status {answer.Status}");
                answered++;
                if (more) Ask(requests, answer.Tag, answered);
                else inFlight--;
                if (requests.IsWorthPublishing) requests.Publish();
            }

            if (requests.Open > 0) requests.Publish();
        }

        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        requests.Deactivate();
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{{\"depth\":{depth},\"packets\":{answered / seconds:F0}}}"));
    }

    private static void Ask(ChannelWriter<Request> requests, uint tag, ulong offset) =>
        requests.Next() = new Request { Kind = RequestKind.Read, Device = 0, Tag = tag, Length = 4096, DeviceOffset = offset, BufferOffset = (ulong)tag << 12 };

    private static ReadStatus None(out int count)
    {
        count = 0;
        return ReadStatus.NoData;
    }
}
