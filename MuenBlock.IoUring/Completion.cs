using System.Runtime.InteropServices;

namespace MuenBlock.IoUring;

/// <summary>What became of an entry: struct io_uring_cqe, 16 bytes (linux/io_uring.h).</summary>
[StructLayout(LayoutKind.Sequential, Size = 16)]
public readonly struct Completion
{
    private readonly ulong _userData;
    private readonly int _result;
    private readonly CompletionFlags _flags;

    /// <summary>Makes a completion, as a stand-in for one of the kernel's.</summary>
    /// <param name="userData">The user data of the entry.</param>
    /// <param name="result">The result.</param>
    /// <param name="flags">The flags.</param>
    public Completion(ulong userData, int result, CompletionFlags flags = default)
    {
        _userData = userData;
        _result = result;
        _flags = flags;
    }

    /// <summary>The user data of the entry.</summary>
    public ulong UserData => _userData;

    /// <summary>What the like-named system call would return, or a negative errno.</summary>
    public int Result => _result;

    /// <summary>More about it.</summary>
    public CompletionFlags Flags => _flags;

    /// <summary>Whether the entry stays armed and will complete again.</summary>
    public bool More => (_flags & CompletionFlags.More) != 0;

    /// <summary>The buffer that the kernel picked; meaningful with <see cref="CompletionFlags.Buffer"/>.</summary>
    public ushort BufferId => (ushort)((uint)_flags >> Kernel.BufferShift);
}

/// <summary>More about a completion (IORING_CQE_F_*, linux/io_uring.h).</summary>
[Flags]
public enum CompletionFlags : uint
{
    /// <summary>The kernel picked a provided buffer: <see cref="Completion.BufferId"/>.</summary>
    Buffer = 1 << 0,

    /// <summary>The entry will complete again.</summary>
    More = 1 << 1,
}
