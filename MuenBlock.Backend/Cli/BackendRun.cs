using Microsoft.Extensions.Logging;
using MuenBlock.Backend.Disks;
using MuenBlock.Backend.Exports;
using MuenBlock.Backend.Serving;
using MuenBlock.IoUring;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using MuenBlock.Protocol.Sandboxing;

namespace MuenBlock.Backend.Cli;

/// <summary>
/// A run of the backend on its main thread: everything is opened, privileges are given up, each connection is served by a thread of its own until a
/// signal comes or one of them fails, and what is under way then is finished.
/// </summary>
/// <param name="options">What was asked for.</param>
/// <param name="signals">What ends it.</param>
/// <param name="log">Where to say how it goes.</param>
internal sealed partial class BackendRun(ServeOptions options, TerminationSignals signals, ILogger log) : IDisposable
{
    private const int OomScore = -900; // among the last to be killed: its clients would wait for the next one

    private readonly ExportedDisks _disks = new(new DiskOpener(options.ReadOnly, () => signals.Received, log).Open);
    private readonly List<Connection> _connections = [];
    private readonly List<ConnectionThread> _threads = [];
    private DiskLook? _disksLook;
    private ConnectionThread? _failed;

    /// <summary>Serves until it is to end. May be called once.</summary>
    /// <param name="exports">What is exported on which connection.</param>
    /// <returns>How the process is to end.</returns>
    /// <exception cref="ProgramException">Something cannot be used.</exception>
    public ExitCode Serve(IReadOnlyList<Export> exports)
    {
        long? asked = null;
        try
        {
            Open(exports);
            PrepareThreads();
            GiveUpPrivileges();
            foreach (ConnectionThread thread in _threads) thread.Start();
            _disksLook!.Start();
            asked = WaitForTheEnd();
        }
        finally
        {
            Finish(asked);
        }

        return _failed?.Failure switch
        {
            null => ExitCode.Success,
            RingException => ExitCode.Environment,
            _ => ExitCode.Internal,
        };
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (ConnectionThread thread in _threads) thread.Dispose();
        foreach (Connection connection in _connections) connection.Dispose();
        _disks.Dispose();
    }

    private void Open(IReadOnlyList<Export> exports)
    {
        var files = new RegionFiles(log);
        foreach (Export export in exports)
        {
            Connection connection = Connection.Open(export, options.RegionDirectory, options.CreateRegions, files, _disks, () => signals.Received, log);
            _connections.Add(connection);
            foreach (Disk disk in connection.Disks)
            {
                if (!options.KeepScheduler) IoScheduler.SwitchOff(disk, log);
                LogExporting(log, export.Connection.Id, disk.Path, disk.Size, disk.BlockLength, disk.IsReadOnly ? "read-only" : "read-write", disk.IsDirect ? "O_DIRECT" : "page cache");
            }
        }

        ReclaimSafety.Prepare(log, OomScore);
    }

    private void PrepareThreads()
    {
        foreach (Connection connection in _connections)
        {
            ConnectionOptions serving = options.Serving with { Cpus = options.Cpus.Of(_threads.Count, _connections.Count) };
            var thread = new ConnectionThread(connection, serving, log, signals.Interrupt);
            _threads.Add(thread);
            thread.Prepare();
        }

        _disksLook = new DiskLook(_threads);
    }

    /// <summary>All is open, and no client has been served yet.</summary>
    private void GiveUpPrivileges()
    {
        SmartPage[] smart = [.. _connections.SelectMany(connection => connection.Disks).Select(disk => disk.Smart).OfType<SmartPage>()];
        if (options.User is not null) Array.ForEach(smart, static page => page.Keep()); // another user may not read them
        if (options.Sandbox)
        {
            Sandbox.EnterAsBackend(options.User, readsSmart: smart.Length > 0 && options.User is null);
            return;
        }

        if (options.User is not null) Privileges.Become(options.User);
        LogNoSandbox(log);
    }

    /// <summary>Returns when a signal has come (and when that was, in milliseconds of the system's clock since its start), or a connection has failed (null).</summary>
    private long? WaitForTheEnd()
    {
        while ((_failed = FirstFailed()) is null && !signals.Wait(RegionSet.LookInterval))
        {
            foreach (ConnectionThread thread in _threads) thread.LookAtRegions();
        }

        if (_failed is not null)
        {
            LogFailed(log, _failed.Id);
            return null;
        }

        LogStopping(log);
        return Environment.TickCount64;
    }

    private ConnectionThread? FirstFailed() => _threads.Find(thread => thread.Failure is not null);

    private void Finish(long? asked)
    {
        foreach (ConnectionThread thread in _threads) thread.Stop();
        var drain = new Drain(log, static () => Environment.TickCount64);
        bool drained = drain.Await(() => _threads.Where(thread => !thread.HasEnded).Select(thread => (thread.Id, thread.UnderWay)), signals.Wait, asked);

        // Not as usual, as what is under way uses all that would be closed.
        if (!drained) Environment.Exit((int)ExitCode.Kernel);
        _disksLook?.Dispose();
        foreach (ConnectionThread thread in _threads) thread.Join();
        _failed ??= FirstFailed();
    }

    [LoggerMessage(32, LogLevel.Warning, "--sandbox off: capabilities and system calls stay as they are")]
    private static partial void LogNoSandbox(ILogger log);

    [LoggerMessage(30, LogLevel.Information, "connection {Connection}: exporting {Path}, {Size} bytes in blocks of {BlockLength}, {Access}, through {Way}")]
    private static partial void LogExporting(ILogger log, uint connection, string path, ulong size, uint blockLength, string access, string way);

    [LoggerMessage(40, LogLevel.Error, "connection {Connection} has failed: this backend finishes what is under way on the others and ends, for another one to take its place; clients wait for that")]
    private static partial void LogFailed(ILogger log, uint connection);

    [LoggerMessage(31, LogLevel.Information, "asked to end: finishing what is under way")]
    private static partial void LogStopping(ILogger log);
}
