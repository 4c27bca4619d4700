using Microsoft.Win32.SafeHandles;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using MuenBlock.Ublk.Control;
using Tmds.Linux;
using static Tmds.Linux.LibC;

namespace MuenBlock.Ublk.Queues;

/// <summary>
/// The hardware queue of a block device: its character device and the descriptors that the driver keeps there, mapped for reading.
/// Made by the control side, used and closed by the connection thread.
/// </summary>
internal sealed unsafe class DeviceQueue : IDisposable
{
    private readonly SafeFileHandle _file;
    private readonly nuint _mapped;
    private IoDescriptor* _descriptors;

    private DeviceQueue(int id, ushort device, int index, in DeviceInfo info, SafeFileHandle file, IoDescriptor* descriptors, nuint mapped)
    {
        Id = id;
        Device = device;
        Index = index;
        Depth = info.QueueDepth;
        IsBatched = (info.Flags & UblkFeatures.BatchIo) != 0;
        _file = file;
        _descriptors = descriptors;
        _mapped = mapped;
    }

    /// <summary>The N of /dev/ublkbN.</summary>
    public int Id { get; }

    /// <summary>The device's id on the connection.</summary>
    public ushort Device { get; }

    /// <summary>The device's place among those that are served: its registered file, and its part of the slots.</summary>
    public int Index { get; }

    /// <summary>Tags.</summary>
    public int Depth { get; }

    /// <summary>Whether the driver has this device's tags come and go in batches; it knows no other commands for it then.</summary>
    public bool IsBatched { get; }

    /// <summary>How they do; the connection thread's.</summary>
    public BatchQueue? Batch { get; set; }

    /// <summary>Tags that the driver will not use again because the device ends.</summary>
    public int Aborted { get; set; }

    /// <summary>Whether the driver was told of every tag.</summary>
    public bool Ended => Batch?.Ended ?? Aborted == Depth;

    /// <summary>Set when the connection thread has let go of the device.</summary>
    public ManualResetEventSlim Closed { get; } = new();

    /// <summary>The character device, for registering it with a ring.</summary>
    public int Descriptor => PosixFile.Descriptor(_file);

    /// <summary>Opens the character device of a block device that was added.</summary>
    /// <param name="info">What the driver made of the block device.</param>
    /// <param name="index">Its place among those that are served.</param>
    /// <param name="patience">How long to wait for the node, and for udev to let go of it.</param>
    /// <exception cref="ProgramException">It cannot be opened or mapped.</exception>
    public static DeviceQueue Open(in DeviceInfo info, int index, TimeSpan patience)
    {
        int id = (int)info.DeviceId;
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

        nuint length = ((nuint)(info.QueueDepth * sizeof(IoDescriptor)) + Region.PageSize - 1) / Region.PageSize * Region.PageSize;
        void* descriptors = mmap(null, (size_t)(ulong)length, PROT_READ, MAP_SHARED | MAP_POPULATE, PosixFile.Descriptor(file), 0);
        if (descriptors != MAP_FAILED) return new DeviceQueue(id, Ownership.DeviceIndex(info), index, info, file, (IoDescriptor*)descriptors, length);
        int failure = errno;
        file.Dispose();
        throw new ProgramException(ExitCode.Environment, $"cannot map the queue of {path}: {PosixFile.Describe(failure)}");
    }

    /// <summary>What the driver wants done with a tag. Valid from the tag's fetch to its commit.</summary>
    /// <param name="tag">The tag, below <see cref="Depth"/>.</param>
    public ref readonly IoDescriptor this[int tag] => ref _descriptors[tag];

    /// <summary>Closes the character device. The driver then lets the device be deleted.</summary>
    public void Dispose()
    {
        if (_descriptors is null) return;
        _ = munmap(_descriptors, (size_t)(ulong)_mapped);
        _descriptors = null;
        _file.Dispose();
        Closed.Set();
    }
}
