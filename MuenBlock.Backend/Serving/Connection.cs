using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using MuenBlock.Backend.Disks;
using MuenBlock.Backend.Exports;
using MuenBlock.Protocol;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;

namespace MuenBlock.Backend.Serving;

/// <summary>What a connection is served with: its three regions, opened and claimed, and its disks, which it may share with others.</summary>
internal sealed partial class Connection : IDisposable
{
    private Connection(ConnectionString name, Region request, Region response, Region buffer, Disk[] disks)
    {
        Name = name;
        Request = request;
        Response = response;
        Buffer = buffer;
        Disks = disks;
        Regions = new RegionSet(request, response, buffer);
    }

    /// <summary>The connection string.</summary>
    public ConnectionString Name { get; }

    /// <summary>The request channel, mapped for reading only.</summary>
    public Region Request { get; }

    /// <summary>The response channel.</summary>
    public Region Response { get; }

    /// <summary>The buffer.</summary>
    public Region Buffer { get; }

    /// <summary>The three of them, as far as they may be lost.</summary>
    public RegionSet Regions { get; }

    /// <summary>The disks, by device id.</summary>
    public Disk[] Disks { get; }

    /// <summary>
    /// The openings whose claims are to last until the last I/O of the connection's ring has ended: they are registered with it. The
    /// response region's fences the buffer too, into which a read that comes late would be written.
    /// </summary>
    public IEnumerable<SafeFileHandle> Fences => [Response.File, .. Disks.Select(disk => disk.Fence).OfType<SafeFileHandle>()];

    /// <summary>Opens everything that a connection needs.</summary>
    /// <param name="export">The connection and its devices.</param>
    /// <param name="regionDirectory">Where its regions are.</param>
    /// <param name="createRegions">Whether regions that are missing are made.</param>
    /// <param name="files">The regions of all connections.</param>
    /// <param name="exported">The disks, which outlive the connection.</param>
    /// <param name="giveUp">Whether to wait no longer for the I/O of a predecessor.</param>
    /// <param name="log">Where to say how.</param>
    /// <exception cref="ProgramException">Something cannot be used.</exception>
    public static Connection Open(Export export, string regionDirectory, bool createRegions, RegionFiles files, ExportedDisks exported, Func<bool> giveUp, ILogger log)
    {
        ConnectionString name = export.Connection;
        if (createRegions)
        {
            _ = Region.CreateIfMissing(regionDirectory, name.Request, Region.DefaultRequestSize);
            _ = Region.CreateIfMissing(regionDirectory, name.Response, Region.DefaultResponseSize);
            _ = Region.CreateIfMissing(regionDirectory, name.Buffer, Region.DefaultBufferSize);
        }

        var opened = new Stack<IDisposable>();
        try
        {
            Region response = Keep(files.Add(Region.Open(regionDirectory, name.Response, writable: true, ConnectionString.MinimumChannelSize, ConnectionString.MaximumChannelSize)));
            Claim(name.Id, response, giveUp, log);
            Region request = Keep(files.Add(Region.Open(regionDirectory, name.Request, writable: false, ConnectionString.MinimumChannelSize, ConnectionString.MaximumChannelSize)));
            Region buffer = Keep(files.Add(Region.Open(regionDirectory, name.Buffer, writable: true, Region.PageSize)));
            Disk[] disks = [.. export.Devices.Select(exported.Of)];
            return new Connection(name, request, response, buffer, disks);
        }
        catch
        {
            while (opened.TryPop(out IDisposable? resource)) resource.Dispose();
            throw;
        }

        T Keep<T>(T resource)
            where T : IDisposable
        {
            opened.Push(resource);
            return resource;
        }
    }

    private static void Claim(uint id, Region response, Func<bool> giveUp, ILogger log)
    {
        switch (FileClaim.Take(response.File, response.Path, DiskOpener.Grace, () => LogWaiting(log, id), giveUp, out int holder))
        {
            case ClaimResult.Held:
                throw new ProgramException(ExitCode.Busy, $"connection {id} is served by another backend ({FileClaim.Describe(holder)}): stop that one, or use other regions");
            case ClaimResult.GivenUp:
                throw new ProgramException(ExitCode.Busy, $"asked to end while the last I/O of another backend of connection {id} was waited for");
            default:
                return;
        }
    }

    /// <summary>The devices as the serving machine sees them.</summary>
    public ServedDevice[] ServedDevices() => [.. Disks.Select(disk => new ServedDevice(disk.Size, disk.BlockLength, disk.Traits, disk.Smart is not null) { Identity = disk.Identity })];

    /// <summary>Closes the regions. No I/O is under way any more.</summary>
    public void Dispose()
    {
        Buffer.Dispose();
        Request.Dispose();
        Response.Dispose();
    }

    [LoggerMessage(6, LogLevel.Information, "connection {Connection}: waiting for the last I/O of a backend that died, which may still reach the buffer")]
    private static partial void LogWaiting(ILogger log, uint connection);
}
