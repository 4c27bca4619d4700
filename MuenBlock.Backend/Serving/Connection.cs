using Microsoft.Extensions.Logging;
using MuenBlock.Backend.Disks;
using MuenBlock.Backend.Exports;
using MuenBlock.Protocol;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;

namespace MuenBlock.Backend.Serving;

/// <summary>What a connection is served with: its three regions and its disks, opened and locked.</summary>
internal sealed class Connection : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10); // longer than a disk takes over its last I/O

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

    /// <summary>Opens everything that a connection needs.</summary>
    /// <param name="export">The connection and its disks.</param>
    /// <param name="regionDirectory">Where its regions are.</param>
    /// <param name="createRegions">Whether regions that are missing are made.</param>
    /// <param name="readOnly">Whether the disks are only read.</param>
    /// <param name="files">The regions of all connections.</param>
    /// <param name="log">Where to say how.</param>
    /// <exception cref="ProgramException">Something cannot be used.</exception>
    public static Connection Open(Export export, string regionDirectory, bool createRegions, bool readOnly, RegionFiles files, ILogger log)
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
            Region response = Keep(files.Add(Region.Open(regionDirectory, name.Response, writable: true, ConnectionString.MinimumChannelSize)));
            if (!PosixFile.TryLock(response.File, s_patience))
                throw new ProgramException(ExitCode.Busy, $"connection {name.Id} is served by another backend: stop that one, or use other regions");
            Region request = Keep(files.Add(Region.Open(regionDirectory, name.Request, writable: false, ConnectionString.MinimumChannelSize)));
            Region buffer = Keep(files.Add(Region.Open(regionDirectory, name.Buffer, writable: true, Region.PageSize)));
            Disk[] disks = [.. export.Disks.Select(path => Keep(Disk.Open(path, readOnly, s_patience, log)))];
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

    /// <summary>The devices as the serving machine sees them.</summary>
    public ServedDevice[] ServedDevices() => [.. Disks.Select(disk => new ServedDevice(disk.Size, disk.BlockLength, disk.Traits))];

    /// <summary>Closes everything. No I/O is under way any more.</summary>
    public void Dispose()
    {
        foreach (Disk disk in Disks) disk.Dispose();
        Buffer.Dispose();
        Request.Dispose();
        Response.Dispose();
    }
}
