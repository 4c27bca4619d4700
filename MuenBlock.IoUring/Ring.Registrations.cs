using static Tmds.Linux.LibC;

namespace MuenBlock.IoUring;

/// <content>What is registered with a ring: buffers, files, itself; and what the kernel can do (io_uring_register(2)).</content>
public sealed unsafe partial class Ring
{
    /// <summary>The largest piece of memory that can be registered, in bytes (io_buffer_validate, io_uring/rsrc.c).</summary>
    public const ulong LargestBuffer = 1ul << 30;

    // A probe's table has a line for every value of the operation's byte.
    private const int ProbeLength = 256;

    private readonly bool[] _supported;

    /// <summary>Whether <see cref="RegisterSelf"/> had an effect.</summary>
    public bool IsSelfRegistered => _enterFlags.HasFlag(EnterFlags.RegisteredRing);

    /// <summary>
    /// Registers the ring's own descriptor for the owner's thread, which spares each <see cref="Enter"/> the look-up of it. Does
    /// nothing where the kernel is older than 5.18, or where several threads take turns.
    /// </summary>
    public void RegisterSelf()
    {
        if (_owner != Environment.CurrentManagedThreadId || IsSelfRegistered) return;
        ResourceUpdate update = new() { Offset = uint.MaxValue, Data = (uint)_memory.Descriptor };
        if (Kernel.Register(_memory.Descriptor, RegisterOperation.RingDescriptors, &update, 1) != 1) return;
        _enterDescriptor = (int)update.Offset;
        _enterFlags |= EnterFlags.RegisteredRing;
    }

    /// <summary>Pins memory for I/O, so that fixed reads and writes need not.</summary>
    /// <param name="buffers">At most 16384 pieces of at most <see cref="LargestBuffer"/> bytes each; their order gives their indices.</param>
    /// <returns>
    /// 0, or a negative errno: -ENOMEM (limit of locked memory), -EFAULT or -EOPNOTSUPP (memory that cannot be pinned, or a piece that is too large), -EBUSY (there
    /// are some already).
    /// </returns>
    public int RegisterBuffers(ReadOnlySpan<IoVector> buffers)
    {
        fixed (IoVector* pointer = buffers) return Register(RegisterOperation.Buffers, pointer, (uint)buffers.Length);
    }

    /// <summary>Puts other memory, or other pages at the same address, in the place of a registered buffer. I/O under way keeps what it began with.</summary>
    /// <param name="index">The buffer's index.</param>
    /// <param name="buffer">The memory; none, as by default, leaves the index empty.</param>
    /// <returns>0, or a negative errno: -ENXIO (no buffers are registered), or one of <see cref="RegisterBuffers"/>; then the buffer is what it was.</returns>
    public int UpdateBuffer(uint index, IoVector buffer)
    {
        BufferUpdate update = new() { Offset = index, Buffers = &buffer, Count = 1 };
        int result = Register(RegisterOperation.UpdateBuffers, &update, (uint)sizeof(BufferUpdate));
        return result > 0 ? 0 : result;
    }

    /// <summary>Gives registered buffers back, once the last I/O with them has ended.</summary>
    /// <returns>0, or a negative errno: -ENXIO (there are none).</returns>
    public int UnregisterBuffers() => Register(RegisterOperation.UnregisterBuffers, null, 0);

    /// <summary>Registers files, so that entries with <see cref="EntryFlags.FixedFile"/> name them by slot.</summary>
    /// <param name="descriptors">The descriptors; their order gives their slots; -1 leaves a slot empty.</param>
    /// <returns>
    /// 0, or a negative errno: -EBADF (no such descriptor), -EMFILE (more than the limit of open files), -EBUSY (there are some already).
    /// </returns>
    public int RegisterFiles(ReadOnlySpan<int> descriptors)
    {
        fixed (int* pointer = descriptors) return Register(RegisterOperation.Files, pointer, (uint)descriptors.Length);
    }

    /// <summary>Puts a file into a slot, or clears it. I/O under way keeps the file that it began with.</summary>
    /// <param name="slot">The slot.</param>
    /// <param name="descriptor">The descriptor; -1 to clear the slot.</param>
    /// <returns>0, or a negative errno: -EINVAL (no such slot), -EBADF (no such descriptor), -ENXIO (no files are registered).</returns>
    public int UpdateFile(uint slot, int descriptor)
    {
        ResourceUpdate update = new() { Offset = slot, Data = (ulong)&descriptor };
        int result = Register(RegisterOperation.UpdateFiles, &update, 1);
        return result > 0 ? 0 : result;
    }

    /// <summary>Gives registered files back.</summary>
    /// <returns>0, or a negative errno: -ENXIO (there are none).</returns>
    public int UnregisterFiles() => Register(RegisterOperation.UnregisterFiles, null, 0);

    /// <summary>Whether the kernel knows an operation. Whether a file supports it is another matter.</summary>
    /// <param name="operation">The operation.</param>
    /// <returns>True if it does.</returns>
    public bool Supports(Operation operation) => _supported[(byte)operation];

    /// <summary>Registers a group of provided buffers; see <see cref="ProvidedBuffers"/>.</summary>
    /// <returns>0, or a negative errno.</returns>
    internal int RegisterBufferRing(BufferSlot* slots, uint count, ushort group)
    {
        BufferRingRegistration registration = new() { Address = (ulong)slots, Entries = count, Group = group };
        return Register(RegisterOperation.BufferRing, &registration, 1);
    }

    /// <summary>Gives a group of provided buffers back.</summary>
    /// <returns>0, or a negative errno.</returns>
    internal int UnregisterBufferRing(ushort group)
    {
        BufferRingRegistration registration = new() { Group = group };
        return Register(RegisterOperation.UnregisterBufferRing, &registration, 1);
    }

    private static bool[] Probe(int descriptor)
    {
        byte* memory = stackalloc byte[sizeof(ProbeHeader) + (ProbeLength * sizeof(ProbeOperation))];
        new Span<byte>(memory, sizeof(ProbeHeader) + (ProbeLength * sizeof(ProbeOperation))).Clear();
        bool[] supported = new bool[ProbeLength];

        // A filter that forbids io_uring_register leaves the table empty, as if nothing were supported.
        if (Kernel.Register(descriptor, RegisterOperation.Probe, memory, ProbeLength) < 0) return supported;
        ReadOnlySpan<ProbeOperation> table = new(memory + sizeof(ProbeHeader), ((ProbeHeader*)memory)->OperationCount);
        foreach (ProbeOperation line in table) supported[(byte)line.Operation] = line.Flags.HasFlag(ProbeFlags.Supported);
        return supported;
    }

    private int Register(RegisterOperation operation, void* argument, uint count) =>
        _entries == null ? -EBADF : Kernel.Register(_memory.Descriptor, operation, argument, count);

    // The index belongs to the calling thread, which must be the one that registered it.
    private void UnregisterSelf()
    {
        if (!IsSelfRegistered) return;
        ResourceUpdate update = new() { Offset = (uint)_enterDescriptor };
        _ = Kernel.Register(_memory.Descriptor, RegisterOperation.UnregisterRingDescriptors, &update, 1);
        _enterFlags &= ~EnterFlags.RegisteredRing;
    }
}
