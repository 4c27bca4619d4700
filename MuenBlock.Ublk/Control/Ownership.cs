namespace MuenBlock.Ublk.Control;

/// <summary>
/// Tells our block devices from those of other ublk servers: the kernel keeps 64 bits for the server with each device
/// (ublksrv_flags), and ours begin with a mark. So it is known also when every file that describes the device is lost.
/// </summary>
internal static class Ownership
{
    private const int IndexBits = 16;
    private const ulong Magic = 0x4d55454e424bul << IndexBits; // "MUENBK"

    /// <summary>What a device of ours is marked with.</summary>
    /// <param name="device">Its id on the connection.</param>
    public static ulong Mark(ushort device) => Magic | device;

    /// <summary>Whether a device is ours.</summary>
    public static bool IsOurs(in DeviceInfo info) => info.ServerFlags >> IndexBits == Magic >> IndexBits;

    /// <summary>The id on its connection of a device of ours.</summary>
    public static ushort DeviceIndex(in DeviceInfo info) => (ushort)info.ServerFlags;
}
