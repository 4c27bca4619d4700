using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;

namespace MuenBlock.Backend.Serving;

/// <summary>
/// Looks at the sizes of all disks once a second, on a thread of its own: an image on a server that hangs (NFS, FUSE) may hold it up for as long as it
/// likes, and the main thread has regions to look at and signals to obey. Allocates nothing after its start (I4).
/// </summary>
internal sealed class DiskLook : IDisposable
{
    private readonly IReadOnlyList<ConnectionThread> _connections;
    private readonly ManualResetEventSlim _go = new();
    private readonly ManualResetEventSlim _ending = new();
    private readonly Thread _thread;

    /// <summary>Prepares to look. <see cref="Start"/> begins.</summary>
    /// <param name="connections">The connections whose disks they are.</param>
    public DiskLook(IReadOnlyList<ConnectionThread> connections)
    {
        _connections = connections;
        _thread = new Thread(Run) { Name = "sizes of disks", IsBackground = true };
        Threads.Start(_thread);
    }

    /// <summary>Begins, once the sandbox was entered: that interrupts all threads, and has to be heard by each.</summary>
    public void Start() => _go.Set();

    /// <summary>Looks no more. A look that hangs is left behind, and ends with the process.</summary>
    public void Dispose()
    {
        _ending.Set();
        _go.Set();
        if (!_thread.Join(RegionSet.LookInterval)) return;
        _ending.Dispose();
        _go.Dispose();
    }

    private void Run()
    {
        _go.Wait();
        while (!_ending.Wait(RegionSet.LookInterval))
        {
            for (int i = 0; i < _connections.Count && !_ending.IsSet; i++) _connections[i].LookAtDisks();
        }
    }
}
