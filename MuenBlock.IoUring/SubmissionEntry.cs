using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using static System.Runtime.CompilerServices.MethodImplOptions;

namespace MuenBlock.IoUring;

/// <summary>
/// One thing for the kernel to do: struct io_uring_sqe, 64 bytes (linux/io_uring.h), or their first half where entries are large.
/// <see cref="Ring.NextEntry"/> gives it zeroed; a Prepare method sets the operation and all that it needs; then
/// <see cref="UserData"/> and <see cref="Flags"/> are the caller's to set. Memory that an entry points to must be unmanaged or
/// pinned, and stay until the completion. A result is what the like-named system call returns, or a negative errno.
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = 64)]
public unsafe struct SubmissionEntry
{
    /// <summary>What to do.</summary>
    [FieldOffset(0)]
    public Operation Operation;

    /// <summary>How it is treated.</summary>
    [FieldOffset(1)]
    public EntryFlags Flags;

    /// <summary>The I/O priority (ioprio_set(2)).</summary>
    [FieldOffset(2)]
    public ushort Priority;

    /// <summary>The file: a descriptor, or a slot with <see cref="EntryFlags.FixedFile"/>.</summary>
    [FieldOffset(4)]
    public int File;

    /// <summary>The place in the file, in bytes.</summary>
    [FieldOffset(8)]
    public ulong Offset;

    /// <summary>The file's own command; the 4 bytes behind it must be 0.</summary>
    [FieldOffset(8)]
    public uint CommandOperation;

    /// <summary>The memory.</summary>
    [FieldOffset(16)]
    public ulong Address;

    /// <summary>The length, in bytes.</summary>
    [FieldOffset(24)]
    public uint Length;

    /// <summary>Flags of the operation, such as RWF_DSYNC (preadv2(2)) for a write.</summary>
    [FieldOffset(28)]
    public uint OperationFlags;

    /// <summary>Flags of a file's own command.</summary>
    [FieldOffset(28)]
    public CommandFlags CommandFlags;

    /// <summary>Comes back with the completion.</summary>
    [FieldOffset(32)]
    public ulong UserData;

    /// <summary>The registered buffer.</summary>
    [FieldOffset(40)]
    public ushort BufferIndex;

    /// <summary>The group that the kernel picks a buffer from.</summary>
    [FieldOffset(40)]
    public ushort BufferGroup;

    /// <summary>A third address, or what an operation takes for it.</summary>
    [FieldOffset(48)]
    public ulong Address3;

    /// <summary>Does nothing and completes with 0.</summary>
    [MethodImpl(AggressiveInlining)]
    public void PrepareNop() => Operation = Operation.Nop;

    /// <summary>Reads (pread(2)).</summary>
    /// <param name="file">The file.</param>
    /// <param name="address">Where to.</param>
    /// <param name="length">Bytes, at most 2 GiB less a page.</param>
    /// <param name="offset">Where from, in bytes.</param>
    [MethodImpl(AggressiveInlining)]
    public void PrepareRead(int file, void* address, uint length, ulong offset) => Prepare(Operation.Read, file, address, length, offset);

    /// <summary>Writes (pwrite(2)).</summary>
    /// <param name="file">The file.</param>
    /// <param name="address">Where from.</param>
    /// <param name="length">Bytes, at most 2 GiB less a page.</param>
    /// <param name="offset">Where to, in bytes.</param>
    [MethodImpl(AggressiveInlining)]
    public void PrepareWrite(int file, void* address, uint length, ulong offset) => Prepare(Operation.Write, file, address, length, offset);

    /// <summary>Reads into a registered buffer.</summary>
    /// <param name="file">The file.</param>
    /// <param name="address">Where to, inside the buffer.</param>
    /// <param name="length">Bytes; all of them lie in the buffer, else -EFAULT.</param>
    /// <param name="offset">Where from, in bytes.</param>
    /// <param name="buffer">The buffer's index in <see cref="Ring.RegisterBuffers"/>.</param>
    [MethodImpl(AggressiveInlining)]
    public void PrepareReadFixed(int file, void* address, uint length, ulong offset, ushort buffer)
    {
        Prepare(Operation.ReadFixed, file, address, length, offset);
        BufferIndex = buffer;
    }

    /// <summary>Writes from a registered buffer.</summary>
    /// <param name="file">The file.</param>
    /// <param name="address">Where from, inside the buffer.</param>
    /// <param name="length">Bytes; all of them lie in the buffer, else -EFAULT.</param>
    /// <param name="offset">Where to, in bytes.</param>
    /// <param name="buffer">The buffer's index in <see cref="Ring.RegisterBuffers"/>.</param>
    [MethodImpl(AggressiveInlining)]
    public void PrepareWriteFixed(int file, void* address, uint length, ulong offset, ushort buffer)
    {
        Prepare(Operation.WriteFixed, file, address, length, offset);
        BufferIndex = buffer;
    }

    /// <summary>Makes what was written durable (fsync(2)). Writes that are still under way are not covered.</summary>
    /// <param name="file">The file.</param>
    /// <param name="dataOnly">As fdatasync(2): only what is needed to read the data again.</param>
    [MethodImpl(AggressiveInlining)]
    public void PrepareSync(int file, bool dataOnly)
    {
        Prepare(Operation.Sync, file, null, 0, 0);
        OperationFlags = dataOnly ? Kernel.SyncDataOnly : 0;
    }

    /// <summary>Allocates, zeroes or frees a part of the file (fallocate(2)).</summary>
    /// <param name="file">The file.</param>
    /// <param name="mode">FALLOC_FL_* (linux/falloc.h).</param>
    /// <param name="offset">Where the part begins, in bytes.</param>
    /// <param name="length">Its length, in bytes.</param>
    [MethodImpl(AggressiveInlining)]
    public void PrepareAllocate(int file, int mode, ulong offset, ulong length)
    {
        // The operation has its length in addr and its mode in len (io_fallocate_prep, io_uring/sync.c).
        Prepare(Operation.Allocate, file, null, (uint)mode, offset);
        Address = length;
    }

    /// <summary>
    /// Sleeps on a futex that processes share, until it is woken: 0; -EAGAIN if it does not hold what is expected.
    /// </summary>
    /// <param name="address">The futex, aligned to 4 bytes.</param>
    /// <param name="expected">What it must hold.</param>
    [MethodImpl(AggressiveInlining)]
    public void PrepareFutexWait(uint* address, uint expected) => PrepareFutex(Operation.FutexWait, address, expected);

    /// <summary>Wakes sleepers of a futex that processes share; the result is how many.</summary>
    /// <param name="address">The futex, aligned to 4 bytes.</param>
    /// <param name="count">How many at most.</param>
    [MethodImpl(AggressiveInlining)]
    public void PrepareFutexWake(uint* address, uint count) => PrepareFutex(Operation.FutexWake, address, count);

    /// <summary>Waits until a file is ready; the result is the events that came.</summary>
    /// <param name="file">The file.</param>
    /// <param name="events">POLL* (poll(2)).</param>
    /// <param name="multishot">Stays armed; completions then have <see cref="Completion.More"/>.</param>
    [MethodImpl(AggressiveInlining)]
    public void PreparePoll(int file, uint events, bool multishot = false)
    {
        Prepare(Operation.PollAdd, file, null, multishot ? Kernel.PollMultishot : 0, 0);
        OperationFlags = BitConverter.IsLittleEndian ? events : (events << 16) | (events >> 16);
    }

    /// <summary>Completes with -ETIME when a time is over, or with 0 when enough other entries have completed before.</summary>
    /// <param name="time">The time; must stay only until the entry is submitted.</param>
    /// <param name="count">How many completions end the wait; 0 for none.</param>
    /// <param name="flags">What the time means.</param>
    [MethodImpl(AggressiveInlining)]
    public void PrepareTimeout(KernelTimespec* time, uint count = 0, TimeoutFlags flags = default)
    {
        Prepare(Operation.Timeout, -1, time, 1, count);
        OperationFlags = (uint)flags;
    }

    /// <summary>
    /// Cancels one entry with that user data. 0: it will complete with -ECANCELED; -ENOENT: there is none; -EALREADY: it runs and
    /// may end either way.
    /// </summary>
    /// <param name="userData">The user data of the entry to cancel.</param>
    [MethodImpl(AggressiveInlining)]
    public void PrepareCancel(ulong userData)
    {
        Prepare(Operation.Cancel, -1, null, 0, 0);
        Address = userData;
    }

    /// <summary>A command of the file's own. Its payload is <see cref="Command{T}"/>.</summary>
    /// <param name="file">The file.</param>
    /// <param name="command">The command.</param>
    [MethodImpl(AggressiveInlining)]
    public void PrepareCommand(int file, uint command) => Prepare(Operation.Command, file, null, 0, command);

    /// <summary>
    /// The payload of a file's own command: 16 bytes, or 80 where entries are large. More would lie in the next entry, which the
    /// caller prevents; more than 80 is refused.
    /// </summary>
    /// <typeparam name="T">The command's struct.</typeparam>
    /// <returns>The payload in place.</returns>
    [UnscopedRef]
    [MethodImpl(AggressiveInlining)]
    public ref T Command<T>()
        where T : unmanaged
    {
        if (sizeof(T) > Kernel.LargeCommandSize) throw new NotSupportedException($"{typeof(T)} does not fit into an entry");
        return ref Unsafe.As<byte, T>(ref Unsafe.AddByteOffset(ref Unsafe.As<SubmissionEntry, byte>(ref this), Kernel.CommandOffset));
    }

    [MethodImpl(AggressiveInlining)]
    private void Prepare(Operation operation, int file, void* address, uint length, ulong offset)
    {
        Operation = operation;
        File = file;
        Offset = offset;
        Address = (ulong)address;
        Length = length;
    }

    // Both futex operations have the size of the futex in fd, the value or the count in addr2 (here Offset), and the mask in addr3
    // (io_futex_prep, io_uring/futex.c).
    [MethodImpl(AggressiveInlining)]
    private void PrepareFutex(Operation operation, uint* address, uint value)
    {
        Prepare(operation, Kernel.FutexSize32, address, 0, value);
        Address3 = Kernel.FutexMatchAny;
    }
}
