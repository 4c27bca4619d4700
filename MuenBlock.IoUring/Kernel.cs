using System.Runtime.InteropServices;

namespace MuenBlock.IoUring;

/// <summary>The three system calls of io_uring and their constants (linux/io_uring.h, asm/unistd.h).</summary>
internal static unsafe partial class Kernel
{
    /// <summary>__NR_io_uring_setup, the same number on every architecture that .NET runs on.</summary>
    public const int SetupCall = 425;

    /// <summary>__NR_io_uring_enter.</summary>
    public const int EnterCall = 426;

    /// <summary>__NR_io_uring_register.</summary>
    public const int RegisterCall = 427;

    /// <summary>Where both rings lie in the ring's file, since one mapping serves both (IORING_OFF_SQ_RING).</summary>
    public const long RingsOffset = 0;

    /// <summary>Where the submission entries lie in the ring's file (IORING_OFF_SQES).</summary>
    public const long EntriesOffset = 0x1000_0000;

    /// <summary>Where a file's own command begins in its entry (offsetof cmd).</summary>
    public const int CommandOffset = 48;

    /// <summary>The bytes from there to the end of a large entry.</summary>
    public const int LargeCommandSize = 80;

    /// <summary>A completion's flags carry the buffer from this bit on (IORING_CQE_BUFFER_SHIFT).</summary>
    public const int BufferShift = 16;

    /// <summary>fsync_flags: data and what is needed to read it, as fdatasync(2) (IORING_FSYNC_DATASYNC).</summary>
    public const uint SyncDataOnly = 1 << 0;

    /// <summary>A poll's len: completes again and again (IORING_POLL_ADD_MULTI).</summary>
    public const uint PollMultishot = 1 << 0;

    /// <summary>A futex of 32 bits that processes share (FUTEX2_SIZE_U32 without FUTEX2_PRIVATE, linux/futex.h).</summary>
    public const int FutexSize32 = 2;

    /// <summary>Any waker will do (FUTEX_BITSET_MATCH_ANY).</summary>
    public const uint FutexMatchAny = 0xffff_ffff;

    // The return value is -1 on failure and errno then tells why. SetLastError would cost every call two stores to tell the same:
    // the runtime keeps errno intact on its way back from native code, so that Marshal.GetLastSystemError right after is good.
    [LibraryImport("libc", EntryPoint = "syscall")]
    public static partial long Enter(long number, long descriptor, ulong submit, ulong waitFor, ulong flags, void* argument, nuint size);

    [LibraryImport("libc", EntryPoint = "syscall")]
    private static partial long Setup(long number, ulong entries, SetupParameters* parameters);

    [LibraryImport("libc", EntryPoint = "syscall")]
    private static partial long Register(long number, long descriptor, ulong operation, void* argument, ulong count);

    /// <summary>Creates a ring.</summary>
    /// <returns>Its descriptor, or a negative errno.</returns>
    public static int Setup(uint entries, ref SetupParameters parameters)
    {
        fixed (SetupParameters* pointer = &parameters)
        {
            long result = Setup(SetupCall, entries, pointer);
            return result < 0 ? -Marshal.GetLastSystemError() : (int)result;
        }
    }

    /// <summary>Registers something with a ring.</summary>
    /// <returns>What the kernel returned, or a negative errno.</returns>
    public static int Register(int descriptor, RegisterOperation operation, void* argument, uint count)
    {
        long result = Register(RegisterCall, descriptor, (uint)operation, argument, count);
        return result < 0 ? -Marshal.GetLastSystemError() : (int)result;
    }
}

/// <summary>IORING_ENTER_*: what io_uring_enter does besides submitting.</summary>
[Flags]
internal enum EnterFlags : uint
{
    GetEvents = 1 << 0,
    WakeSubmissionThread = 1 << 1,
    WaitForRoom = 1 << 2,
    ExtendedArgument = 1 << 3,
    RegisteredRing = 1 << 4,
}

/// <summary>IORING_FEAT_*: what the kernel's rings are like.</summary>
[Flags]
internal enum RingFeatures : uint
{
    SingleMapping = 1 << 0,
    NoDrop = 1 << 1,
    StableSubmission = 1 << 2,
    ExtendedArgument = 1 << 8,
    IoAttributes = 1 << 16,
}

/// <summary>IORING_SQ_*: flags that the kernel sets in the ring's memory.</summary>
[Flags]
internal enum SubmissionQueueFlags : uint
{
    ThreadSleeps = 1 << 0,
    CompletionOverflow = 1 << 1,
    TaskRun = 1 << 2,
}

/// <summary>IORING_REGISTER_*: what can be registered.</summary>
internal enum RegisterOperation : uint
{
    Buffers = 0,
    UnregisterBuffers = 1,
    Files = 2,
    UnregisterFiles = 3,
    UpdateFiles = 6,
    Probe = 8,
    Restrictions = 11,
    Enable = 12,
    UpdateBuffers = 16,
    RingDescriptors = 20,
    UnregisterRingDescriptors = 21,
    BufferRing = 22,
    UnregisterBufferRing = 23,
}

/// <summary>IORING_RESTRICTION_*: what a restriction allows.</summary>
internal enum RestrictionKind : ushort
{
    Registration = 0,
    Operation = 1,
    Flags = 2,
}

/// <summary>IO_URING_OP_*: what a probe tells of an operation.</summary>
[Flags]
internal enum ProbeFlags : ushort
{
    Supported = 1 << 0,
}
