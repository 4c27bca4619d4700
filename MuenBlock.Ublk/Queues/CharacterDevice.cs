using Microsoft.Win32.SafeHandles;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using static Tmds.Linux.LibC;

namespace MuenBlock.Ublk.Queues;

/// <summary>
/// The character device of a block device. The driver lets a process open it once, so the device's queues share the opening; the last of those who
/// use it closes it, on whatever thread.
/// </summary>
internal sealed class CharacterDevice
{
    private readonly SafeFileHandle _file;
    private int _users = 1;

    /// <summary>Takes an opening. Its caller is the first user.</summary>
    /// <param name="id">The block device.</param>
    /// <param name="file">The opening.</param>
    internal CharacterDevice(int id, SafeFileHandle file)
    {
        Id = id;
        _file = file;
    }

    /// <summary>The N of /dev/ublkcN.</summary>
    public int Id { get; }

    /// <summary>The opening.</summary>
    public int Descriptor => PosixFile.Descriptor(_file);

    /// <summary>Opens the character device of a block device that was added. Its caller is the first user.</summary>
    /// <param name="id">The block device.</param>
    /// <param name="patience">How long to wait for the node, and for udev to let go of it.</param>
    /// <exception cref="ProgramException">It cannot be opened.</exception>
    public static CharacterDevice Open(int id, TimeSpan patience)
    {
        string path = $"/dev/ublkc{id}";
        long deadline = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        SafeFileHandle? file;
        while ((file = PosixFile.TryOpen(path, O_RDWR, out int error)) is null)
        {
            // The node may not be there yet, may not have its owner yet, or udev may have it open.
            bool passing = error == ENOENT || error == EACCES || error == EBUSY;
            if (!passing || Environment.TickCount64 >= deadline)
                throw new ProgramException(ExitCode.Environment, $"cannot open {path}: {PosixFile.Describe(error)}; is /dev a devtmpfs, or in a container, is the device passed in?");
            Thread.Sleep(5);
        }

        return new CharacterDevice(id, file);
    }

    /// <summary>Takes note of another user.</summary>
    public void Use() => Interlocked.Increment(ref _users);

    /// <summary>A user is done. The driver lets the device be deleted when all are.</summary>
    public void Leave()
    {
        if (Interlocked.Decrement(ref _users) == 0) _file.Dispose();
    }
}
