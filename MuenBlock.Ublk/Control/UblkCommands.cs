namespace MuenBlock.Ublk.Control;

/// <summary>
/// The commands of ublk, each as the number that goes into a ring entry (UBLK_U_CMD_*, UBLK_U_IO_*, linux/ublk_cmd.h): direction,
/// size of the payload, type 'u' and number, packed like an ioctl request (asm-generic/ioctl.h). The older plain numbers are not
/// used: a kernel may be built without them.
/// </summary>
internal static class UblkCommands
{
    private const uint WriteDirection = 1u << 30;
    private const uint ReadDirection = 2u << 30;
    private const int SizeShift = 16;
    private const uint UblkType = 'u' << 8;

    // The size in a number is that of the payload: ControlCommand or IoCommand.
    private const uint ControlRead = ReadDirection | (32u << SizeShift) | UblkType;
    private const uint ControlReadWrite = WriteDirection | ControlRead;
    private const uint QueueReadWrite = WriteDirection | ReadDirection | (16u << SizeShift) | UblkType;

    /// <summary>On which CPUs a queue's requests arise; the queue is in <see cref="ControlCommand.Argument"/>. Since 6.0.</summary>
    public const uint GetQueueAffinity = ControlRead | 0x01;

    /// <summary>Reads a <see cref="DeviceInfo"/>. Since 6.0.</summary>
    public const uint GetDeviceInfo = ControlRead | 0x02;

    /// <summary>Makes a device from a <see cref="DeviceInfo"/>, which it brings up to date. Since 6.0.</summary>
    public const uint AddDevice = ControlReadWrite | 0x04;

    /// <summary>Removes a device and waits until its id is free. Since 6.0.</summary>
    public const uint DeleteDevice = ControlReadWrite | 0x05;

    /// <summary>Makes the block device, once every tag has been fetched; the server's process id is the argument. Since 6.0.</summary>
    public const uint StartDevice = ControlReadWrite | 0x06;

    /// <summary>Takes the block device away and aborts what is fetched. Since 6.0.</summary>
    public const uint StopDevice = ControlReadWrite | 0x07;

    /// <summary>Sets the <see cref="DeviceParameters"/> of a device that was not started. Since 6.0.</summary>
    public const uint SetParameters = ControlReadWrite | 0x08;

    /// <summary>Reads the <see cref="DeviceParameters"/>. Since 6.0.</summary>
    public const uint GetParameters = ControlRead | 0x09;

    /// <summary>Begins to take over a device whose server is gone. Since 6.1.</summary>
    public const uint StartUserRecovery = ControlReadWrite | 0x10;

    /// <summary>Ends the take-over, once every tag has been fetched; the new server's process id is the argument. Since 6.1.</summary>
    public const uint EndUserRecovery = ControlReadWrite | 0x11;

    /// <summary>Reads a <see cref="DeviceInfo"/>; whoever may open the device's file may do that. Since 6.3.</summary>
    public const uint GetDeviceInfo2 = ControlRead | 0x12;

    /// <summary>Reads the <see cref="UblkFeatures"/> that the driver knows. Since 6.5.</summary>
    public const uint GetFeatures = ControlRead | 0x13;

    /// <summary>Removes a device without waiting for the end of its last user. Since 6.7.</summary>
    public const uint DeleteDeviceAsync = ControlRead | 0x14;

    /// <summary>Gives a device another size; it is the argument, in sectors of 512 bytes. Since 6.16.</summary>
    public const uint UpdateSize = ControlReadWrite | 0x15;

    /// <summary>Makes a device wait for another server; the argument is a time-out in milliseconds, 0 for none. Since 6.16.</summary>
    public const uint QuiesceDevice = ControlReadWrite | 0x16;

    /// <summary>As <see cref="StopDevice"/>, but -EBUSY if anyone has the device open. Since 7.0.</summary>
    public const uint TryStopDevice = ControlReadWrite | 0x17;

    /// <summary>Registers a <see cref="SharedBufferRegistration"/>; the result is its index. Since 7.1.</summary>
    public const uint RegisterBuffer = ControlReadWrite | 0x18;

    /// <summary>Offers a tag to the driver for the first time.</summary>
    public const uint FetchRequest = QueueReadWrite | 0x20;

    /// <summary>Gives the result of a tag's request and offers the tag again.</summary>
    public const uint CommitAndFetchRequest = QueueReadWrite | 0x21;

    /// <summary>Offers many tags for the first time: <see cref="BatchIo"/>. Since 7.0.</summary>
    public const uint PrepareBatch = QueueReadWrite | 0x25;

    /// <summary>Gives the results of many tags and offers them again: <see cref="BatchIo"/>. Since 7.0.</summary>
    public const uint CommitBatch = QueueReadWrite | 0x26;

    /// <summary>Receives the tags of new requests, again and again: <see cref="BatchIo"/>. Since 7.0.</summary>
    public const uint FetchBatch = QueueReadWrite | 0x27;

    /// <summary>A command's name in the kernel's documentation, for messages.</summary>
    /// <param name="command">A control command.</param>
    public static string Name(uint command) => command switch
    {
        GetQueueAffinity => "GET_QUEUE_AFFINITY",
        GetDeviceInfo => "GET_DEV_INFO",
        AddDevice => "ADD_DEV",
        DeleteDevice => "DEL_DEV",
        StartDevice => "START_DEV",
        StopDevice => "STOP_DEV",
        SetParameters => "SET_PARAMS",
        GetParameters => "GET_PARAMS",
        StartUserRecovery => "START_USER_RECOVERY",
        EndUserRecovery => "END_USER_RECOVERY",
        GetDeviceInfo2 => "GET_DEV_INFO2",
        GetFeatures => "GET_FEATURES",
        DeleteDeviceAsync => "DEL_DEV_ASYNC",
        UpdateSize => "UPDATE_SIZE",
        QuiesceDevice => "QUIESCE_DEV",
        TryStopDevice => "TRY_STOP_DEV",
        RegisterBuffer => "REG_BUF",
        _ => $"command 0x{command:x8}",
    };
}
