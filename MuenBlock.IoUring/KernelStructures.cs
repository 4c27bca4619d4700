using System.Runtime.InteropServices;

namespace MuenBlock.IoUring;

/// <summary>A piece of memory: struct iovec (bits/types/struct_iovec.h).</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct IoVector
{
    /// <summary>The first byte.</summary>
    public void* Base;

    /// <summary>The length, in bytes.</summary>
    public nuint Length;
}

/// <summary>A time, or a span of time: struct __kernel_timespec (linux/time_types.h).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct KernelTimespec
{
    /// <summary>Whole seconds.</summary>
    public long Seconds;

    /// <summary>The rest, 0 to 999,999,999 nanoseconds.</summary>
    public long Nanoseconds;
}

/// <summary>What io_uring_setup takes and gives: struct io_uring_params.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SetupParameters
{
    public uint SubmissionEntries;
    public uint CompletionEntries;
    public RingSetup Flags;
    public uint PollThreadCpu;
    public uint PollThreadIdle;
    public RingFeatures Features;
    public uint WorkQueueFile;
    public uint Reserved0;
    public uint Reserved1;
    public uint Reserved2;
    public SubmissionOffsets Submission;
    public CompletionOffsets Completion;
}

/// <summary>Where things lie in the ring's memory: struct io_sqring_offsets.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SubmissionOffsets
{
    public uint Head;
    public uint Tail;
    public uint Mask;
    public uint Entries;
    public uint Flags;
    public uint Dropped;
    public uint IndexTable;
    public uint Reserved;
    public ulong UserAddress;
}

/// <summary>Where things lie in the ring's memory: struct io_cqring_offsets.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct CompletionOffsets
{
    public uint Head;
    public uint Tail;
    public uint Mask;
    public uint Entries;
    public uint Overflow;
    public uint Completions;
    public uint Flags;
    public uint Reserved;
    public ulong UserAddress;
}

/// <summary>How io_uring_enter is to wait: struct io_uring_getevents_arg.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct WaitArgument
{
    public ulong SignalMask;
    public uint SignalMaskSize;
    public uint MinimumWaitMicroseconds;
    public KernelTimespec* Timeout;
}

/// <summary>One registered ring descriptor, or registered files to replace: struct io_uring_rsrc_update.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ResourceUpdate
{
    public uint Offset;
    public uint Reserved;
    public ulong Data;
}

/// <summary>Registered buffers to replace: struct io_uring_rsrc_update2.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct BufferUpdate
{
    public uint Offset;
    public uint Reserved0;
    public IoVector* Buffers;
    public ulong Tags;
    public uint Count;
    public uint Reserved1;
}

/// <summary>What the kernel can do: struct io_uring_probe, without its table.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ProbeHeader
{
    public byte LastOperation;
    public byte OperationCount;
    public ushort Reserved0;
    public uint Reserved1;
    public uint Reserved2;
    public uint Reserved3;
}

/// <summary>One line of that table: struct io_uring_probe_op.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ProbeOperation
{
    public Operation Operation;
    public byte Reserved0;
    public ProbeFlags Flags;
    public uint Reserved1;
}

/// <summary>One thing that a restricted ring allows: struct io_uring_restriction.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Restriction
{
    public RestrictionKind Kind;
    public byte Allowed;
    public byte Reserved0;
    public uint Reserved1;
    public uint Reserved2;
    public uint Reserved3;
}

/// <summary>A group of provided buffers to register: struct io_uring_buf_reg.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct BufferRingRegistration
{
    public ulong Address;
    public uint Entries;
    public ushort Group;
    public ushort Flags;
    public ulong Reserved0;
    public ulong Reserved1;
    public ulong Reserved2;
}

/// <summary>One buffer in the ring of its group: struct io_uring_buf. In the first one the last field is the ring's tail.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct BufferSlot
{
    public ulong Address;
    public uint Length;
    public ushort Id;
    public ushort Tail;
}
