using System.Globalization;
using MuenBlock.Protocol.Programs;

namespace MuenBlock.Ublk.Control;

/// <summary>What can be told of a block device: by the driver, and for one of ours by its server's record.</summary>
/// <param name="Info">The driver's information.</param>
/// <param name="Parameters">The driver's parameters; all zero if it has none.</param>
/// <param name="Record">The server's record, if the device is ours and there is one.</param>
internal sealed record DeviceSummary(DeviceInfo Info, DeviceParameters Parameters, DeviceRecord? Record)
{
    private const int SectorShift = 9;

    /// <summary>The N of /dev/ublkbN.</summary>
    public int Id => (int)Info.DeviceId;

    /// <summary>The block device.</summary>
    public string Path => $"/dev/ublkb{Id}";

    /// <summary>
    /// What became of it: live, dead, quiesced or fail-io. One of ours that waits for a server is recoverable: that is what to do with it.
    /// </summary>
    public string State => Info.State switch
    {
        DeviceState.Dead => "dead",
        DeviceState.Live => "live",
        DeviceState.Quiesced => IsOurs ? "recoverable" : "quiesced",
        DeviceState.FailIo => "fail-io",
        _ => ((int)Info.State).ToString(CultureInfo.InvariantCulture),
    };

    /// <summary>The process that serves it; null if there is none, or none that is visible from here.</summary>
    public int? Pid => Info.Server;

    /// <summary>Whether muenblock-ublk made it.</summary>
    public bool IsOurs => Ownership.IsOurs(Info);

    /// <summary>Its id on its connection; null if it is not ours.</summary>
    public int? DeviceIndex => IsOurs ? Ownership.DeviceIndex(Info) : null;

    /// <summary>Bytes.</summary>
    public ulong Size => Parameters.Basic.DeviceSectors << SectorShift;

    /// <summary>Bytes of a block; 0 before the device's server has said so.</summary>
    public int BlockSize => Parameters.Types.HasFlag(ParameterTypes.Basic) ? 1 << Parameters.Basic.LogicalBlockShift : 0;

    /// <summary>Whether it cannot be written.</summary>
    public bool IsReadOnly => Parameters.Basic.Attributes.HasFlag(DeviceAttributes.ReadOnly);

    /// <summary>Hardware queues.</summary>
    public int Queues => Info.HardwareQueues;

    /// <summary>Tags of a queue.</summary>
    public int Depth => Info.QueueDepth;

    /// <summary>Whether its tags come and go in batches.</summary>
    public bool IsBatched => Info.Flags.HasFlag(UblkFeatures.BatchIo);

    /// <summary>The largest request in bytes.</summary>
    public uint LargestIo => Info.LargestIoBytes;

    /// <summary>Asks for a device.</summary>
    /// <param name="control">The driver.</param>
    /// <param name="id">The device.</param>
    /// <param name="directory">Where records are.</param>
    /// <returns>The device, or null if there is none.</returns>
    public static DeviceSummary? TryRead(ControlPlane control, int id, string directory)
    {
        if (control.TryGetInfo(id) is not { } info) return null;
        DeviceRecord? record = Ownership.IsOurs(info) ? DeviceRecord.TryLoad(id, directory) : null;
        try
        {
            return new DeviceSummary(info, control.GetParameters(id), record);
        }
        catch (ProgramException failure) when (failure.ExitCode == ExitCode.NotFound)
        {
            return null; // it went in between
        }
    }
}
