using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using MuenBlock.Protocol.Regions;
using static Tmds.Linux.LibC;

namespace MuenBlock.Protocol.Signals;

/// <summary>
/// The event of a channel that this end writes: a file of Muen's event directory, named after the channel. Writing one byte to it triggers
/// the event, which makes the channel's file readable at the other end (docs/operations.md, "On a Muen subject").
/// </summary>
public sealed unsafe partial class Doorbell : IDisposable
{
    private readonly SafeFileHandle _file;

    private Doorbell(string path, SafeFileHandle file)
    {
        Path = path;
        _file = file;
    }

    /// <summary>The event's file.</summary>
    public string Path { get; }

    /// <summary>Opens the event of a channel and rings it once: an event that comes for no reason does no harm.</summary>
    /// <param name="directory">The event directory.</param>
    /// <param name="name">The channel's name.</param>
    /// <param name="reason">If it cannot be used, why not, as a phrase; else empty.</param>
    /// <returns>The doorbell, or null.</returns>
    public static Doorbell? TryOpen(string directory, string name, out string reason)
    {
        string path = System.IO.Path.Combine(directory, name);
        SafeFileHandle? file = PosixFile.TryOpen(path, O_WRONLY | O_NOFOLLOW, out int error);
        if (file is null)
        {
            reason = error == ENOENT ? $"there is no event {path}" : $"event {path} cannot be opened ({PosixFile.Describe(error)})";
            return null;
        }

        var bell = new Doorbell(path, file);
        error = bell.Ring();
        reason = error == 0 ? "" : $"event {path} cannot be rung ({PosixFile.Describe(error)})";
        if (error == 0) return bell;
        bell.Dispose();
        return null;
    }

    /// <summary>Triggers the event. A system call of its own: a ring would hand the write to a worker thread, as the file is no disk's.</summary>
    /// <returns>0, or a positive errno.</returns>
    public int Ring()
    {
        byte any = 1;
        while (Write(PosixFile.Descriptor(_file), &any, 1) < 0)
        {
            int error = Marshal.GetLastPInvokeError();
            if (error != EINTR) return error;
        }

        return 0;
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    private static partial nint Write(int descriptor, void* data, nuint length);
}
