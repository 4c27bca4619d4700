namespace MuenBlock.Ublk.Control;

/// <summary>
/// What the driver can do, and what a device is to use of it (UBLK_F_*, linux/ublk_cmd.h). ADD_DEV drops what it does not know
/// instead of refusing it: the flags that it gives back tell what the device really has.
/// </summary>
[Flags]
internal enum UblkFeatures : ulong
{
    /// <summary>A request's pages can be put into the server's ring. Since 6.15.</summary>
    SupportZeroCopy = 1ul << 0,

    /// <summary>Commands complete in the server's task. The driver always sets it.</summary>
    CommandsCompleteInTask = 1ul << 1,

    /// <summary>A write's data is copied when the server asks for it.</summary>
    NeedGetData = 1ul << 2,

    /// <summary>The device outlives its server. Since 6.1.</summary>
    UserRecovery = 1ul << 3,

    /// <summary>With <see cref="UserRecovery"/>: what was in flight is given to the next server again. Since 6.1.</summary>
    UserRecoveryReissue = 1ul << 4,

    /// <summary>A device of an ordinary user. Since 6.3.</summary>
    UnprivilegedDevice = 1ul << 5,

    /// <summary>Commands are numbered like ioctl requests. The driver always sets it. Since 6.4.</summary>
    EncodedCommands = 1ul << 6,

    /// <summary>The server copies with pread and pwrite. Since 6.5.</summary>
    UserCopy = 1ul << 7,

    /// <summary>A zoned device. Since 6.6.</summary>
    Zoned = 1ul << 8,

    /// <summary>With <see cref="UserRecovery"/>: I/O fails while there is no server. Since 6.13.</summary>
    UserRecoveryFailIo = 1ul << 9,

    /// <summary>The size can be changed. Since 6.16.</summary>
    UpdateSize = 1ul << 10,

    /// <summary>A request's pages are put into the server's ring unasked. Since 6.16.</summary>
    AutoBufferRegistration = 1ul << 11,

    /// <summary>The server can be replaced without being killed. Since 6.16.</summary>
    Quiesce = 1ul << 12,

    /// <summary>Each tag may have a thread of its own. Since 6.16.</summary>
    PerIoDaemon = 1ul << 13,

    /// <summary>Any thread may register a request's pages. Since 6.17.</summary>
    BufferRegistrationOffDaemon = 1ul << 14,

    /// <summary>Tags are fetched and committed in batches, by any thread. Since 7.0.</summary>
    BatchIo = 1ul << 15,

    /// <summary>Requests carry integrity data. Since 7.0.</summary>
    Integrity = 1ul << 16,

    /// <summary>A device can be stopped unless it is open. Since 7.0.</summary>
    SafeStopDevice = 1ul << 17,

    /// <summary>The kernel does not look for partitions when the device starts. Since 7.0.</summary>
    NoAutoPartitionScan = 1ul << 18,

    /// <summary>I/O from registered shared memory is not copied. Since 7.1.</summary>
    SharedMemoryZeroCopy = 1ul << 19,

    /// <summary>Descriptors of another size than 24 bytes. Since 7.3.</summary>
    IoDescriptorSize = 1ul << 20,
}
