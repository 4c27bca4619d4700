using System.Buffers.Binary;
using System.Runtime.InteropServices;
using static Tmds.Linux.LibC;

namespace MuenBlock.Protocol.Programs;

/// <summary>
/// Machine code for what managed code cannot do: signal handlers that run wherever a thread happens to be. The pieces are a few
/// instructions long and call nothing but the kernel.
/// </summary>
internal static unsafe class NativeCode
{
    /// <summary>What can be done where <see cref="TryPlace"/> fails.</summary>
    public const string Remedy = "allow that (MemoryDenyWriteExecute=no in a unit)";

    private const int PageSize = 4096;

    /// <summary>Whether the pieces are for this processor.</summary>
    public static bool IsSupported => RuntimeInformation.ProcessArchitecture == Architecture.X64;

    /// <summary>Puts a piece of code where it can be run and nobody can change it any more. It stays for the life of the process.</summary>
    /// <param name="code">The instructions, less than a page. Zeros follow them.</param>
    /// <param name="values">64-bit values and where in the code they belong.</param>
    /// <returns>The first instruction; null if the system lets nobody make memory executable.</returns>
    public static void* TryPlace(ReadOnlySpan<byte> code, ReadOnlySpan<(int Offset, ulong Value)> values)
    {
        byte* page = (byte*)mmap(null, PageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED) return null;
        var memory = new Span<byte>(page, PageSize);
        code.CopyTo(memory);
        foreach ((int offset, ulong value) in values) BinaryPrimitives.WriteUInt64LittleEndian(memory[offset..], value);
        if (mprotect(page, PageSize, PROT_READ | PROT_EXEC) == 0) return page;
        _ = munmap(page, PageSize);
        return null;
    }
}

/// <summary>sigaction(2) with the C library's structure (bits/sigaction.h, on x86-64).</summary>
[StructLayout(LayoutKind.Explicit, Size = 152)]
internal unsafe partial struct SignalAction
{
    /// <summary>SA_SIGINFO: the handler is told what happened.</summary>
    public const int WithInformation = 4;

    /// <summary>SA_ONSTACK: on the thread's alternate stack, where it has one.</summary>
    public const int OnAlternateStack = 0x0800_0000;

    /// <summary>SA_RESTART: system calls that the signal interrupts go on.</summary>
    public const int Restart = 0x1000_0000;

    /// <summary>SA_NODEFER: the handler can be interrupted by the same signal.</summary>
    public const int Nested = 0x4000_0000;

    /// <summary>The handler: 0 is SIG_DFL, 1 is SIG_IGN.</summary>
    [FieldOffset(0)] public nuint Handler;

    /// <summary>How it is called.</summary>
    [FieldOffset(136)] public int Flags;

    [LibraryImport("libc", EntryPoint = "sigaction")]
    public static partial int Set(int signal, SignalAction* action, SignalAction* previous);
}
