namespace MuenBlock.Ublk.Session;

/// <summary>What the kernel, and so whoever uses its block device, was promised of a device. It stays so whatever servers come.</summary>
/// <param name="Size">Bytes.</param>
/// <param name="IsReadOnly">Whether it cannot be written, so that no server has to let it be.</param>
internal readonly record struct DevicePromise(ulong Size, bool IsReadOnly);
