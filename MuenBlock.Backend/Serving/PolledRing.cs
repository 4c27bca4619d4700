using Microsoft.Extensions.Logging;
using MuenBlock.Backend.Disks;
using MuenBlock.IoUring;

namespace MuenBlock.Backend.Serving;

/// <summary>
/// A second ring of a connection, for reads and writes whose completions are looked for at the disk instead of being waited for (IOPOLL).
/// Such a ring takes nothing else, so flushes, discards and waiting stay with the first one. While it has I/O its thread does not sleep.
/// </summary>
internal sealed partial class PolledRing : IDisposable
{
    private readonly Ring _ring;

    private PolledRing(Ring ring) => _ring = ring;

    /// <summary>The ring, for registering files and memory.</summary>
    public Ring Ring => _ring;

    /// <summary>I/Os that were handed out and have not been taken back.</summary>
    public int InFlight { get; private set; }

    /// <summary>Creates the ring, if all disks of a connection have queues that can be polled. The calling thread becomes its owner.</summary>
    /// <param name="connection">The connection.</param>
    /// <param name="log">Where to say which disk cannot be polled.</param>
    /// <returns>Null if there is such a disk.</returns>
    public static PolledRing? TryCreate(Connection connection, ILogger log)
    {
        if (Array.Find(connection.Disks, disk => !CanBePolled(disk)) is { } other)
        {
            LogNotPolled(log, connection.Name.Id, other.Path);
            return null;
        }

        LogPolled(log, connection.Name.Id);
        return new PolledRing(ServingRing.CreatePolled());
    }

    /// <summary>The next entry, for a read or a write.</summary>
    /// <returns>It.</returns>
    public ref SubmissionEntry NextEntry()
    {
        InFlight++;
        return ref _ring.NextEntry();
    }

    /// <summary>Submits what was handed out and looks once at the disks.</summary>
    public void Look() => _ = _ring.Enter();

    /// <summary>Takes back an I/O that has ended.</summary>
    /// <param name="completion">How.</param>
    /// <returns>False if none has.</returns>
    public bool TryTake(out Completion completion)
    {
        if (!_ring.TryTake(out completion)) return false;
        InFlight--;
        return true;
    }

    /// <inheritdoc/>
    public void Dispose() => _ring.Dispose();

    // Documentation/ABI/stable/sysfs-block, io_poll: 1 where the driver has queues without interrupts.
    private static bool CanBePolled(Disk disk) =>
        disk.IsDirect && disk.DeviceNumber is { } number && BlockDeviceQueries.QueueValue(number, "io_poll") == 1;

    [LoggerMessage(33, LogLevel.Information, "connection {Connection}: its disks are polled while they have I/O")]
    private static partial void LogPolled(ILogger log, uint connection);

    [LoggerMessage(34, LogLevel.Warning, "connection {Connection}: --iopoll has no effect: {Path} has no queues that can be polled (a driver's poll_queues parameter makes some, such as nvme.poll_queues=1)")]
    private static partial void LogNotPolled(ILogger log, uint connection, string path);
}
