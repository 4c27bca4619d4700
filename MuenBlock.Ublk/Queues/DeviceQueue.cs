using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using MuenBlock.Ublk.Control;
using Tmds.Linux;
using static Tmds.Linux.LibC;

namespace MuenBlock.Ublk.Queues;

/// <summary>
/// A hardware queue of a block device: the descriptors that the driver keeps in the character device, mapped for reading.
/// Made by the control side, used and closed by the connection thread.
/// </summary>
internal sealed unsafe class DeviceQueue : IDisposable
{
    private readonly CharacterDevice _file;
    private readonly nuint _mapped;
    private IoDescriptor* _descriptors;

    private DeviceQueue(CharacterDevice file, in DeviceInfo info, int index, int number, IoDescriptor* descriptors, nuint mapped)
    {
        Device = Ownership.DeviceIndex(info);
        Index = index;
        Number = (ushort)number;
        Depth = info.QueueDepth;
        IsBatched = (info.Flags & UblkFeatures.BatchIo) != 0;
        _file = file;
        _descriptors = descriptors;
        _mapped = mapped;
        file.Use();
    }

    /// <summary>The N of /dev/ublkbN.</summary>
    public int Id => _file.Id;

    /// <summary>The device's id on the connection.</summary>
    public ushort Device { get; }

    /// <summary>The device's place among those that are served: its registered file, and its part of the slots.</summary>
    public int Index { get; }

    /// <summary>The queue's number on its device: 0, or the connection's place among joined ones.</summary>
    public ushort Number { get; }

    /// <summary>Tags.</summary>
    public int Depth { get; }

    /// <summary>Whether the driver has this device's tags come and go in batches; it knows no other commands for it then.</summary>
    public bool IsBatched { get; }

    /// <summary>How they do; the connection thread's.</summary>
    public BatchQueue? Batch { get; set; }

    /// <summary>Tags that the driver will not use again because the device ends.</summary>
    public int Aborted { get; set; }

    /// <summary>Whether the driver gives no more requests, as the device ends or is to have another server: it has aborted a tag.</summary>
    public bool IsEnding { get; set; }

    /// <summary>Whether the driver was told of every tag.</summary>
    public bool Ended => Batch?.Ended ?? Aborted == Depth;

    /// <summary>Set when the connection thread has let go of the queue.</summary>
    public ManualResetEventSlim Closed { get; } = new();

    /// <summary>The character device, for registering it with a ring.</summary>
    public int Descriptor => _file.Descriptor;

    /// <summary>Opens the queues of a block device that was added.</summary>
    /// <param name="info">What the driver made of the block device.</param>
    /// <param name="index">Its place among those that are served.</param>
    /// <param name="patience">How long to wait for the node, and for udev to let go of it.</param>
    /// <exception cref="ProgramException">The character device cannot be opened or mapped.</exception>
    public static DeviceQueue[] Open(in DeviceInfo info, int index, TimeSpan patience)
    {
        var file = CharacterDevice.Open((int)info.DeviceId, patience);
        var opened = new List<DeviceQueue>();
        try
        {
            for (int number = 0; number < info.HardwareQueues; number++) opened.Add(Map(file, info, index, number));
            return [.. opened];
        }
        catch
        {
            foreach (DeviceQueue queue in opened) queue.Dispose();
            throw;
        }
        finally
        {
            file.Leave();
        }
    }

    /// <summary>What the driver wants done with a tag. Valid from the tag's fetch to its commit.</summary>
    /// <param name="tag">The tag, below <see cref="Depth"/>.</param>
    public ref readonly IoDescriptor this[int tag] => ref _descriptors[tag];

    /// <summary>Closes the queue, and with the last one the character device. The driver then lets the device be deleted.</summary>
    public void Dispose()
    {
        if (_descriptors is null) return;
        _ = munmap(_descriptors, (size_t)(ulong)_mapped);
        _descriptors = null;
        _file.Leave();
        Closed.Set();
    }

    /// <summary>Maps a queue's descriptors.</summary>
    /// <param name="file">The device, whose user the queue becomes.</param>
    /// <param name="info">What the driver made of the block device.</param>
    /// <param name="index">Its place among those that are served.</param>
    /// <param name="number">The queue's number on the device.</param>
    /// <exception cref="ProgramException">They cannot be mapped.</exception>
    internal static DeviceQueue Map(CharacterDevice file, in DeviceInfo info, int index, int number)
    {
        nuint length = ((nuint)(info.QueueDepth * sizeof(IoDescriptor)) + Region.PageSize - 1) / Region.PageSize * Region.PageSize;
        long offset = UblkLimits.DescriptorsOffset + (number * UblkLimits.DescriptorsStride);
        void* descriptors = mmap(null, (size_t)(ulong)length, PROT_READ, MAP_SHARED | MAP_POPULATE, file.Descriptor, offset);
        if (descriptors != MAP_FAILED) return new DeviceQueue(file, info, index, number, (IoDescriptor*)descriptors, length);
        throw new ProgramException(ExitCode.Environment, $"cannot map queue {number} of /dev/ublkc{file.Id}: {PosixFile.Describe(errno)}");
    }
}
