using MuenBlock.Backend.Disks;

namespace MuenBlock.Backend.Exports;

/// <summary>
/// The disks of a process, each opened and claimed once, however many connections export it: their rings share its opening and its fence. Ends
/// after the last of those rings.
/// </summary>
/// <param name="open">Opens a disk.</param>
internal sealed class ExportedDisks(Func<string, Disk> open) : IDisposable
{
    // By reference: the same path given twice is two devices.
    private readonly Dictionary<DeviceString, Disk> _disks = new(ReferenceEqualityComparer.Instance);

    /// <summary>The disk of a device.</summary>
    /// <param name="device">The device.</param>
    /// <exception cref="Protocol.Programs.ProgramException">It cannot be used.</exception>
    public Disk Of(DeviceString device)
    {
        if (!_disks.TryGetValue(device, out Disk? disk)) _disks.Add(device, disk = open(device.Path));
        return disk;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Disk disk in _disks.Values) disk.Dispose();
        _disks.Clear();
    }
}
