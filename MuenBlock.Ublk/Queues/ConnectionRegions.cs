using MuenBlock.Protocol;
using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;

namespace MuenBlock.Ublk.Queues;

/// <summary>The three regions of a connection, as a client maps them: it only reads the response channel.</summary>
internal sealed class ConnectionRegions : IDisposable
{
    private const int LookMilliseconds = 20; // how often a missing region is looked for, and whether to go on

    private ConnectionRegions(ConnectionString name, Region request, Region response, Region buffer)
    {
        Name = name;
        Request = request;
        Response = response;
        Buffer = buffer;
        All = new RegionSet(request, response, buffer);
    }

    /// <summary>The connection string.</summary>
    public ConnectionString Name { get; }

    /// <summary>The request channel.</summary>
    public Region Request { get; }

    /// <summary>The response channel, mapped for reading only.</summary>
    public Region Response { get; }

    /// <summary>The buffer.</summary>
    public Region Buffer { get; }

    /// <summary>The three of them, as far as they may be lost.</summary>
    public RegionSet All { get; }

    /// <summary>Opens the regions; the backend may still be about to make them.</summary>
    /// <param name="name">The connection.</param>
    /// <param name="directory">Where its regions are.</param>
    /// <param name="deadline">Until when missing ones are waited for, in <see cref="Environment.TickCount64"/>'s milliseconds.</param>
    /// <param name="patience">How long another client, which is about to end, is waited for.</param>
    /// <param name="files">The regions of all connections.</param>
    /// <param name="giveUp">Whether to wait no longer; asked again and again.</param>
    /// <exception cref="ProgramException">They cannot be used, or another client uses them, or they were given up.</exception>
    public static ConnectionRegions Open(ConnectionString name, string directory, long deadline, TimeSpan patience, RegionFiles files, Func<bool> giveUp)
    {
        foreach (string region in (string[])[name.Request, name.Response, name.Buffer])
        {
            while (!Path.Exists(Path.Combine(directory, region)) && Environment.TickCount64 < deadline) Pause($"region {region}", giveUp);
        }

        var opened = new Stack<Region>();
        try
        {
            opened.Push(files.Add(Region.Open(directory, name.Request, writable: true, ConnectionString.MinimumChannelSize, ConnectionString.MaximumChannelSize)));
            if (!TryLock(name.Id, opened.Peek(), patience, giveUp))
                throw new ProgramException(ExitCode.Busy, $"connection {name.Id} is used by another client: delete its devices first ('muenblock-ublk list' shows them), or use other regions");
            opened.Push(files.Add(Region.Open(directory, name.Response, writable: false, ConnectionString.MinimumChannelSize, ConnectionString.MaximumChannelSize)));
            opened.Push(files.Add(Region.Open(directory, name.Buffer, writable: true, Region.PageSize)));
            Region[] regions = [.. opened];
            return new ConnectionRegions(name, regions[2], regions[1], regions[0]);
        }
        catch
        {
            while (opened.TryPop(out Region? region)) region.Dispose();
            throw;
        }
    }

    /// <summary>Why nobody can be greeted on a connection, as far as its response channel shows that; null if it does not.</summary>
    /// <param name="name">The connection.</param>
    /// <param name="directory">Where its regions are.</param>
    /// <exception cref="ProgramException">The channel cannot be opened.</exception>
    public static unsafe string? WhyNoBackend(ConnectionString name, string directory)
    {
        using var response = Region.Open(directory, name.Response, writable: false, ConnectionString.MinimumChannelSize, ConnectionString.MaximumChannelSize);
        var reader = new ChannelReader<Response>(response.Memory, response.Length, name.ResponseProtocol);
        return reader.Read([], out _) switch
        {
            ReadStatus.Inactive => "its response channel is inactive",
            ReadStatus.Incompatible => reader.DescribeHeader(),
            _ => null,
        };
    }

    private static void Pause(string awaited, Func<bool> giveUp)
    {
        if (giveUp()) throw new ProgramException(ExitCode.Busy, $"asked to end while the {awaited} was waited for");
        Thread.Sleep(LookMilliseconds);
    }

    private static bool TryLock(uint id, Region region, TimeSpan patience, Func<bool> giveUp)
    {
        long end = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        while (!PosixFile.TryLock(region.File, region.Path))
        {
            if (Environment.TickCount64 >= end) return false;
            Pause($"end of the client before, on connection {id},", giveUp);
        }

        return true;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Buffer.Dispose();
        Response.Dispose();
        Request.Dispose();
    }
}
