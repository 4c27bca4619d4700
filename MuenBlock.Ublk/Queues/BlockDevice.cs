using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using MuenBlock.Ublk.Control;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Queues;

/// <summary>A block device from ADD_DEV to DEL_DEV: what the kernel is told of a server's device.</summary>
internal sealed class BlockDevice
{
    private const int SectorShift = 9;
    private const int PageShift = 12;

    // The driver's queue of tags to be told of has two places at least (kfifo_alloc): with a depth of 1 it refuses the device.
    private const int LeastBatchDepth = 2;

    private const int RemindMilliseconds = 1_000; // see ControlPlane.Stop

    // A discard's length is 32 bits in the table of I/Os; a round number below that.
    private const ulong LargestDiscard = 1u << 31;

    private static readonly TimeSpan s_nodePatience = TimeSpan.FromSeconds(5); // udev's, before others give up on it

    private readonly ControlPlane _control;

    private BlockDevice(ControlPlane control, in DeviceInfo info, DeviceQueue[] queues, in DevicePromise promise)
    {
        _control = control;
        Id = (int)info.DeviceId;
        IsRecoverable = (info.Flags & ControlPlane.Recoverable) == ControlPlane.Recoverable;
        Device = Ownership.DeviceIndex(info);
        Mark = info.ServerFlags;
        Queues = queues;
        Promise = promise;
    }

    /// <summary>The N of /dev/ublkbN.</summary>
    public int Id { get; }

    /// <summary>The device that applications open.</summary>
    public string Path => $"/dev/ublkb{Id}";

    /// <summary>Its id on the connection.</summary>
    public ushort Device { get; }

    /// <summary>What it is marked with, see <see cref="Ownership"/>.</summary>
    public ulong Mark { get; }

    /// <summary>Its hardware queues, one for each connection.</summary>
    public DeviceQueue[] Queues { get; }

    /// <summary>Whether the threads of all its queues have let go of it.</summary>
    public bool IsClosed => Array.TrueForAll(Queues, static queue => queue.Closed.IsSet);

    /// <summary>What the kernel knows of it.</summary>
    public DevicePromise Promise { get; private set; }

    /// <summary>Bytes, as the kernel knows it.</summary>
    public ulong Size => Promise.Size;

    /// <summary>Whether it outlives its server.</summary>
    public bool IsRecoverable { get; }

    /// <summary>Adds a device, which nobody can use before <see cref="Start"/>.</summary>
    /// <param name="control">The control device.</param>
    /// <param name="wanted">The id that it should have; -1 for any.</param>
    /// <param name="queues">How many hardware queues it gets.</param>
    /// <param name="mark">What it is marked with, see <see cref="Ownership"/>.</param>
    /// <param name="index">Its place among those that are served.</param>
    /// <param name="geometry">What the server said of it.</param>
    /// <param name="layout">How the buffer is cut.</param>
    /// <param name="readOnly">Whether it is read-only even if the server would let it be written.</param>
    /// <param name="shared">The buffer, if applications share it; else null.</param>
    /// <param name="batch">Whether its tags come and go in batches; null where the driver can.</param>
    /// <exception cref="ProgramException">It could not be added, or not as it was wanted.</exception>
    public static unsafe BlockDevice Add(
        ControlPlane control, int wanted, int queues, ulong mark, int index, in DeviceGeometry geometry, BufferLayout layout, bool readOnly, Region? shared, bool? batch)
    {
        if (batch == true && layout.Depth < LeastBatchDepth)
            throw new ProgramException(ExitCode.Usage, $"--batch on needs a depth of {LeastBatchDepth} or more, and it is {layout.Depth}: leave the option out");
        bool batched = control.Features.HasFlag(UblkFeatures.BatchIo) && (batch ?? layout.Depth >= LeastBatchDepth);
        DeviceInfo info = control.Add(new DeviceInfo
        {
            DeviceId = (uint)wanted,
            HardwareQueues = (ushort)queues,
            QueueDepth = (ushort)layout.Depth,
            LargestIoBytes = layout.LargestSlotIo,
            Flags = (batched ? control.BatchFeatures : control.RecoveryFeatures) | (shared is null ? 0 : UblkFeatures.SharedMemoryZeroCopy),
            ServerFlags = mark,
            ServerPid = Environment.ProcessId,
        });
        int id = (int)info.DeviceId;
        try
        {
            if (batch == true && (info.Flags & UblkFeatures.BatchIo) == 0)
                throw new ProgramException(ExitCode.Environment, "--batch on: this kernel's driver has no BATCH_IO, which came with Linux 7.0 ('muenblock-ublk features'); leave the option out");

            // The driver gives fewer without a word. A connection without a queue would be a promise not kept.
            if (info.HardwareQueues != queues)
                throw new ProgramException(ExitCode.Usage, $"{queues} connections are too many to join here: ublk gives a device no more queues than the machine has CPUs, {info.HardwareQueues}");
            control.SetParameters(id, Parameters(geometry, layout, readOnly, shared is not null));
            if (shared is not null && control.RegisterMemory(id, (ulong)shared.Memory, shared.Length) != 0)
                throw new ProgramException(ExitCode.Kernel, $"the driver gave the first memory of /dev/ublkb{id} another index than 0: report it with the kernel's version");
            return new BlockDevice(control, info, DeviceQueue.Open(info, index, s_nodePatience), new DevicePromise(geometry.Size, readOnly || geometry.IsReadOnly));
        }
        catch
        {
            control.Delete(id);
            throw;
        }
    }

    /// <summary>Takes hold of a device that waits, after START_USER_RECOVERY. Its users go on waiting until <see cref="Resume"/>.</summary>
    /// <param name="control">The control device.</param>
    /// <param name="info">What the driver knows of it.</param>
    /// <param name="index">Its place among those that are served.</param>
    /// <param name="promise">What the kernel knows of it.</param>
    public static BlockDevice Adopt(ControlPlane control, in DeviceInfo info, int index, in DevicePromise promise) =>
        new(control, info, DeviceQueue.Open(info, index, s_nodePatience), promise);

    /// <summary>Lets I/O flow again. The device's tags are being fetched.</summary>
    public void Resume() => _control.EndRecovery(Id, Environment.ProcessId);

    /// <summary>Makes the device usable. Its tags are being fetched. The kernel reads its partition table meanwhile, or soon after (since 7.x).</summary>
    public void Start() => _control.Start(Id, Environment.ProcessId);

    /// <summary>Makes the device larger, which its users see at once.</summary>
    /// <param name="size">Bytes.</param>
    public void Grow(ulong size)
    {
        _control.Resize(Id, size);
        Promise = Promise with { Size = size };
    }

    /// <summary>Ends the device: what is in flight completes, then its queues are aborted. The connection threads must be running.</summary>
    public void Stop() => _control.Stop(Id);

    /// <summary>The same, unless somebody has begun to use it, as far as the driver can tell.</summary>
    /// <param name="patience">How long to wait for users who look at it in passing.</param>
    /// <returns>False if somebody uses it.</returns>
    public bool TryStop(TimeSpan patience) => _control.TryStopUnused(Id, patience);

    /// <summary>Closes its queues. No thread uses them.</summary>
    public void Close()
    {
        foreach (DeviceQueue queue in Queues) queue.Dispose();
    }

    /// <summary>Waits until the threads of its queues have let go of it.</summary>
    /// <param name="patience">How long.</param>
    /// <returns>False if it took longer.</returns>
    public bool AwaitClosed(TimeSpan patience)
    {
        long deadline = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        foreach (DeviceQueue queue in Queues)
        {
            while (!queue.Closed.Wait((int)Math.Clamp(deadline - Environment.TickCount64, 0, RemindMilliseconds)))
            {
                if (Environment.TickCount64 >= deadline) return false;
                if (queue.IsBatched) Stop();
            }
        }

        return true;
    }

    /// <summary>Removes the device, whose queues were closed.</summary>
    public void Delete() => _control.Delete(Id);

    private static DeviceParameters Parameters(in DeviceGeometry geometry, BufferLayout layout, bool readOnly, bool shares)
    {
        int blockShift = int.Log2((int)geometry.BlockLength);
        bool plainServer = (geometry.Traits & DeviceTraits.Known) == 0;
        readOnly |= geometry.IsReadOnly;

        // A plain server does not say whether it discards: it is asked to, and may answer that it cannot.
        bool discards = !readOnly && (plainServer || (geometry.Traits & DeviceTraits.Discard) != 0);
        ulong largestDiscard = Math.Min(geometry.MostBytes, LargestDiscard) / geometry.BlockLength * geometry.BlockLength;

        var parameters = new DeviceParameters
        {
            Types = ParameterTypes.Basic | (discards ? ParameterTypes.Discard : 0),
            Basic = new BasicParameters
            {
                // Without a volatile cache the kernel would never send a flush, and nothing would be durable.
                Attributes = DeviceAttributes.VolatileCache
                    | (readOnly ? DeviceAttributes.ReadOnly : 0)
                    | ((geometry.Traits & DeviceTraits.Rotational) != 0 ? DeviceAttributes.Rotational : 0),
                LogicalBlockShift = (byte)blockShift,
                PhysicalBlockShift = PageShift,
                OptimalIoShift = PageShift,
                MinimumIoShift = (byte)blockShift,
                MostSectors = layout.LargestSlotIo >> SectorShift,
                DeviceSectors = geometry.Size >> SectorShift,
            },
        };
        if (shares)
        {
            // A place in the buffer has to be a multiple of the block length (docs/wire-format.md, "Request and response"). What is not is copied.
            parameters.Types |= ParameterTypes.Dma;
            parameters.Dma = new DmaParameters { Alignment = geometry.BlockLength - 1 };
        }

        if (discards)
        {
            parameters.Discard = new DiscardParameters
            {
                Granularity = geometry.BlockLength,
                MostDiscardSectors = (uint)(largestDiscard >> SectorShift),
                MostDiscardSegments = 1,
            };
        }

        return parameters;
    }
}
