namespace MuenBlock.IoUring;

/// <content>What a ring takes at all: once it is restricted, for good, whoever fills its entries (io_uring_register(2)).</content>
public sealed unsafe partial class Ring
{
    // Whatever an entry of an operation that is allowed may be marked with: the flags change when it runs, not what it does.
    private const EntryFlags AllFlags =
        EntryFlags.FixedFile | EntryFlags.Drain | EntryFlags.Link | EntryFlags.HardLink | EntryFlags.Async | EntryFlags.BufferSelect | EntryFlags.SkipSuccess;

    // What this library registers with a ring that is in use.
    private static readonly RegisterOperation[] s_registrations =
    [
        RegisterOperation.Buffers, RegisterOperation.UnregisterBuffers, RegisterOperation.UpdateBuffers, RegisterOperation.Files, RegisterOperation.UnregisterFiles,
        RegisterOperation.UpdateFiles, RegisterOperation.RingDescriptors, RegisterOperation.UnregisterRingDescriptors, RegisterOperation.BufferRing,
        RegisterOperation.UnregisterBufferRing,
    ];

    /// <summary>Restricts a ring that was created disabled, and enables it: the calling thread becomes its single issuer for the kernel.</summary>
    /// <exception cref="RingException">The kernel refuses it.</exception>
    private void Restrict(IReadOnlyCollection<Operation> operations)
    {
        // The kernel takes no restriction to an operation that it does not know.
        Restriction[] restrictions =
        [
            .. operations.Where(Supports).Select(operation => new Restriction { Kind = RestrictionKind.Operation, Allowed = (byte)operation }),
            .. s_registrations.Select(registration => new Restriction { Kind = RestrictionKind.Registration, Allowed = (byte)registration }),
            new() { Kind = RestrictionKind.Flags, Allowed = (byte)AllFlags },
        ];
        int result;
        fixed (Restriction* pointer = restrictions) result = Register(RegisterOperation.Restrictions, pointer, (uint)restrictions.Length);
        if (result >= 0) result = Register(RegisterOperation.Enable, null, 0);
        if (result < 0) throw RingException.OnRestricting(-result);
    }
}
