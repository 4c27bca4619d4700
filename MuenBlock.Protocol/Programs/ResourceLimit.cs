using System.Runtime.InteropServices;

namespace MuenBlock.Protocol.Programs;

/// <summary>A limit of the process (getrlimit(2)): struct rlimit. All bits are set where there is none.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe partial struct ResourceLimit
{
    /// <summary>RLIMIT_FSIZE, asm-generic/resource.h.</summary>
    public const int FileSize = 1;

    /// <summary>RLIMIT_MEMLOCK.</summary>
    public const int LockedMemory = 8;

    /// <summary>What holds.</summary>
    public ulong Soft;

    /// <summary>What the process may raise it to.</summary>
    public ulong Hard;

    [LibraryImport("libc", EntryPoint = "getrlimit")]
    public static partial int Get(int resource, ResourceLimit* limit);

    [LibraryImport("libc", EntryPoint = "setrlimit")]
    public static partial int Set(int resource, ResourceLimit* limit);
}
