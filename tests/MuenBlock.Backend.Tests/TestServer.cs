using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Win32.SafeHandles;
using MuenBlock.Backend.Disks;
using MuenBlock.Backend.Exports;
using MuenBlock.Backend.Serving;
using MuenBlock.Protocol;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Regions;
using MuenBlock.Protocol.Signals;

namespace MuenBlock.Backend.Tests;

/// <summary>A backend in this process: real regions, real rings, image files in a folder of its own.</summary>
internal sealed class TestServer : IDisposable
{
    private readonly ExportedDisks _disks;
    private readonly Connection[] _connections;
    private readonly ConnectionThread[] _threads;

    public TestServer(
        string directory,
        IReadOnlyList<string> images,
        bool readOnly = false,
        OffsetUnit unit = OffsetUnit.Sectors,
        WaitMode wait = WaitMode.Auto,
        bool canBePinned = true,
        int connections = 1,
        ILogger? log = null,
        long hearing = 0)
    {
        log ??= NullLogger.Instance;
        Names = [.. Enumerable.Range(1, connections).Select(id => ConnectionString.Parse(id == 1 ? "1:request:response:buffer" : $"{id}:request{id}:response{id}:buffer{id}"))];
        _disks = new ExportedDisks(new DiskOpener(readOnly, static () => false, NullLogger.Instance).Open);
        DeviceString[] devices = [.. images.Select(image => new DeviceString(image, [.. Names.Select(name => name.Id)]))];
        var files = new RegionFiles(NullLogger.Instance);
        _connections = [.. Names.Select(name => Connection.Open(new Export(name, devices), directory, createRegions: true, files, _disks, static () => false, NullLogger.Instance))];
        var options = new ConnectionOptions(unit, wait, TimeSpan.Zero) { CanBePinned = _ => canBePinned, HearingMilliseconds = hearing };
        _threads = [.. _connections.Select(connection => new ConnectionThread(connection, options, log, static () => { }))];
        foreach (ConnectionThread thread in _threads) thread.Prepare();
        foreach (ConnectionThread thread in _threads) thread.Start();
    }

    /// <summary>The connections, each of which exports all images.</summary>
    public ConnectionString[] Names { get; }

    /// <summary>The first of them.</summary>
    public ConnectionString Name => Names[0];

    public bool Failed => Array.Exists(_threads, thread => thread.Failure is not null);

    public bool HasEnded => Array.TrueForAll(_threads, thread => thread.HasEnded);

    public void Stop()
    {
        foreach (ConnectionThread thread in _threads) thread.Stop();
    }

    /// <summary>What the main thread does once a second.</summary>
    public void LookAtDisks()
    {
        foreach (ConnectionThread thread in _threads) thread.LookAtDisks();
    }

    public void Dispose()
    {
        Stop();
        foreach (ConnectionThread thread in _threads) thread.Join();
        foreach (ConnectionThread thread in _threads) thread.Dispose();
        foreach (Connection connection in _connections) connection.Dispose();
        _disks.Dispose();
    }
}

/// <summary>A folder that goes away with its test.</summary>
internal sealed class TestFolder : IDisposable
{
    /// <summary>Makes it in memory, or on the disk that holds /var/tmp.</summary>
    public TestFolder(string root = "/dev/shm") => Path = Directory.CreateDirectory($"{root}/muenblock-test-{Guid.NewGuid():n}").FullName;

    public string Path { get; }

    /// <summary>Makes an image of random bytes.</summary>
    public string Image(string name, int size)
    {
        string path = $"{Path}/{name}";
        byte[] bytes = new byte[size];
        new Random(size).NextBytes(bytes);
        File.WriteAllBytes(path, bytes);
        return path;
    }

    /// <summary>What a file holds now, although a backend has it locked.</summary>
    public static byte[] Contents(string path)
    {
        // The framework's own opening takes a shared flock, which the backend's exclusive one refuses.
        using SafeFileHandle file = PosixFile.TryOpen(path, 0, out int error) ?? throw new IOException(PosixFile.Describe(error));
        byte[] bytes = new byte[RandomAccess.GetLength(file)];
        int done = 0;
        while (done < bytes.Length) done += RandomAccess.Read(file, bytes.AsSpan(done), done);
        return bytes;
    }

    public void Dispose() => Directory.Delete(Path, recursive: true);

    /// <summary>Describes a block device as the system does, below devices, with a link from block.</summary>
    /// <param name="number">Its number, MAJOR:MINOR.</param>
    /// <param name="folder">Where, such as sda/sda1.</param>
    /// <param name="files">What is in its folder.</param>
    public void Device(string number, string folder, params (string Name, string Value)[] files)
    {
        string path = $"{Path}/devices/{folder}";
        foreach ((string name, string value) in files.Append(("dev", number)))
        {
            Directory.CreateDirectory(System.IO.Path.GetDirectoryName($"{path}/{name}")!);
            File.WriteAllText($"{path}/{name}", $"{value}\n");
        }

        Directory.CreateDirectory($"{Path}/block");
        Directory.CreateSymbolicLink($"{Path}/block/{number}", $"../devices/{folder}");
    }
}
