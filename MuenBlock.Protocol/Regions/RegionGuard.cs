using System.Runtime.InteropServices;
using MuenBlock.Protocol.Programs;
using Tmds.Linux;
using static Tmds.Linux.LibC;

namespace MuenBlock.Protocol.Regions;

/// <summary>
/// Keeps the program alive when memory of a region is gone: its file was truncated, or its file system has no page left for it.
/// An access to such memory is a SIGBUS, which would end the process and all of its connections.
/// <list type="number">
/// <item>Every region is in a table, from before its first use to after its last.</item>
/// <item>The handler of SIGBUS looks for the address there. It replaces the whole region by memory of this process's own, sets the
/// region's mark, and returns: the access is repeated and finds zeros. Where there is no page for that memory it is repeated until there is.</item>
/// <item>The region's thread finds the mark in its next turn and drops the connection.</item>
/// </list>
/// An address outside of all regions is passed on to the handler that was there before. The handler is machine code: managed code must
/// not run in a signal handler, as the signal may come in the middle of a collection. Where it cannot be installed, a region that is cut off
/// ends the process, and <see cref="IsInstalled"/> tells.
/// </summary>
internal static unsafe partial class RegionGuard
{
    private const int MostRegions = 4096; // three for each of the 1024 connections that a program may have, and some
    private const int Sigbus = 7; // asm-generic/signal.h

    private static readonly Lock s_gate = new();
    private static Entry* s_table;

    /// <summary>Whether a region that is cut off costs its connection alone. Known once there is a region.</summary>
    public static bool IsInstalled { get; private set; }

    // On entry: rdi = signal, rsi = siginfo, rdx = context. Everything may be overwritten: the kernel restores it.
    private static ReadOnlySpan<byte> Handler =>
    [
        0x49, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, //             mov  r8, table
        0x49, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0, //             mov  r9, table's end
        0x83, 0x7e, 0x08, 0x00, //                         cmp  dword [rsi+8], 0      si_code: not above 0 if it was sent by kill
        0x7e, 0x19, //                                     jle  other
        0x48, 0x8b, 0x46, 0x10, //                         mov  rax, [rsi+16]         si_addr
        0x48, 0x89, 0xc1, //                         next: mov  rcx, rax
        0x49, 0x2b, 0x08, //                               sub  rcx, [r8]             Entry.Start
        0x49, 0x3b, 0x48, 0x08, //                         cmp  rcx, [r8+8]           Entry.Length; 0 in a free entry
        0x72, 0x1b, //                                     jb   found
        0x49, 0x83, 0xc0, 0x20, //                         add  r8, 32
        0x4d, 0x39, 0xc8, //                               cmp  r8, r9
        0x72, 0xeb, //                                     jb   next
        0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, //      other: mov  rax, previous handler
        0x48, 0x83, 0xf8, 0x01, //                         cmp  rax, 1                SIG_IGN; the kernel obeys it for no fault
        0x76, 0x31, //                                     jbe  default
        0xff, 0xe0, //                                     jmp  rax
        0x41, 0x50, //                              found: push r8
        0x49, 0x8b, 0x38, //                               mov  rdi, [r8]
        0x49, 0x8b, 0x70, 0x08, //                         mov  rsi, [r8+8]
        0x41, 0x8b, 0x50, 0x10, //                         mov  edx, [r8+16]          Entry.Protection
        0x45, 0x8b, 0x50, 0x1c, //                         mov  r10d, [r8+28]         Entry.Flags
        0x4d, 0x63, 0x40, 0x18, //                         movsxd r8, dword [r8+24]   Entry.File
        0x45, 0x31, 0xc9, //                               xor  r9d, r9d
        0xb8, 0x09, 0, 0, 0, //                            mov  eax, 9                mmap
        0x0f, 0x05, //                                     syscall
        0x41, 0x58, //                                     pop  r8
        0x48, 0x85, 0xc0, //                               test rax, rax
        0x78, 0x09, //                                     js   default
        0x41, 0xc7, 0x40, 0x14, 0x01, 0, 0, 0, //          mov  dword [r8+20], 1      Entry.Lost
        0xc3, //                                           ret
        0xbf, 0x07, 0, 0, 0, //                   default: mov  edi, 7                 SIGBUS
        0x48, 0xbe, 0, 0, 0, 0, 0, 0, 0, 0, //             mov  rsi, an action that is all zeros: SIG_DFL
        0x31, 0xd2, //                                     xor  edx, edx
        0x41, 0xba, 0x08, 0, 0, 0, //                      mov  r10d, 8               the size of the kernel's sigset_t
        0xb8, 0x0d, 0, 0, 0, //                            mov  eax, 13               rt_sigaction
        0x0f, 0x05, //                                     syscall
        0xc3, //                                           ret                        the access is repeated and ends the process
    ];

    /// <summary>Guards a region from now on.</summary>
    /// <param name="start">Its first byte.</param>
    /// <param name="length">Its bytes.</param>
    /// <param name="protection">PROT_*, as it is mapped.</param>
    /// <returns>The region's mark: not 0 once memory of it was gone.</returns>
    public static int* Add(byte* start, nuint length, int protection)
    {
        lock (s_gate)
        {
            if (s_table == null) Install();
            for (Entry* entry = s_table; entry < s_table + MostRegions; entry++)
            {
                if (entry->Length != 0) continue;
                entry->Start = start;
                entry->Protection = protection;
                entry->Lost = 0;
                entry->File = OwnMemory(length);
                entry->Flags = MAP_FIXED | (entry->File < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);

                // The handler takes an entry with a length for a whole one. It runs on a thread that got the region from this one.
                Volatile.Write(ref entry->Length, length);
                return &entry->Lost;
            }
        }

        throw new ProgramException(ExitCode.Usage, $"more than {MostRegions} regions are too many");
    }

    /// <summary>Guards a region no longer. It is still mapped.</summary>
    /// <param name="mark">Its mark.</param>
    public static void Remove(int* mark)
    {
        lock (s_gate)
        {
            Entry* entry = Of(mark);
            Volatile.Write(ref entry->Length, 0);
            if (entry->File >= 0) _ = close(entry->File);
        }
    }

    /// <summary>Does what the handler does, before anybody touches what is gone.</summary>
    /// <param name="mark">The region's mark.</param>
    /// <returns>Whether memory of this process's own has taken the region's place.</returns>
    public static bool Replace(int* mark)
    {
        Entry* entry = Of(mark);
        return mmap(entry->Start, (size_t)(ulong)entry->Length, entry->Protection, entry->Flags, entry->File, 0) != MAP_FAILED;
    }

    private static Entry* Of(int* mark) => (Entry*)((byte*)mark - Entry.LostOffset);

    /// <summary>
    /// Memory to take a region's place, as a file that has no pages before they are used: a system that promises no more memory than it has
    /// (vm.overcommit_memory=2) would refuse private memory as a whole, at a moment and of a size that the other end chooses.
    /// </summary>
    /// <returns>The file's descriptor; -1 where there are no such files, or none of that size: private memory has to do.</returns>
    private static int OwnMemory(nuint length)
    {
        const uint closeOnExec = 1; // MFD_CLOEXEC, linux/memfd.h
        const uint notExecutable = 8; // MFD_NOEXEC_SEAL, since 6.3, from when on a system may insist on it
        int file = CreateMemory("muenblock", closeOnExec | notExecutable);
        if (file < 0) file = CreateMemory("muenblock", closeOnExec);
        if (file < 0 || ftruncate(file, (long)length) == 0) return file;
        _ = close(file);
        return -1;
    }

    [LibraryImport("libc", EntryPoint = "memfd_create", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int CreateMemory(string name, uint flags);

    private static void Install()
    {
        nuint size = (nuint)(MostRegions * sizeof(Entry));
        void* memory = mmap(null, (size_t)(ulong)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) throw new ProgramException(ExitCode.Environment, $"no memory for the table of regions: {PosixFile.Describe(errno)}");
        s_table = (Entry*)memory;

        if (!NativeCode.IsSupported) return;
        SignalAction previous;
        if (SignalAction.Set(Sigbus, null, &previous) != 0) return;
        const int tableAt = 0x02, endAt = 0x0c, previousAt = 0x35, zerosAt = 0x7b; // in the handler
        void* zeros = NativeMemory.AllocZeroed((nuint)sizeof(SignalAction));
        void* code = NativeCode.TryPlace(
            Handler,
            [(tableAt, (ulong)s_table), (endAt, (ulong)(s_table + MostRegions)), (previousAt, previous.Handler), (zerosAt, (ulong)zeros)]);
        if (code == null) return;
        var action = new SignalAction
        {
            Handler = (nuint)code,
            Flags = SignalAction.WithInformation | SignalAction.OnAlternateStack | SignalAction.Nested,
        };
        IsInstalled = SignalAction.Set(Sigbus, &action, null) == 0;
    }

    /// <summary>A region, as the handler reads it.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 32)]
    private struct Entry
    {
        public const int LostOffset = 20;

        [FieldOffset(0)] public byte* Start;
        [FieldOffset(8)] public nuint Length;
        [FieldOffset(16)] public int Protection;
        [FieldOffset(LostOffset)] public int Lost;

        // What takes its place: mmap(2)'s flags, and the file, if it is one.
        [FieldOffset(24)] public int File;
        [FieldOffset(28)] public int Flags;
    }
}
