using System.Diagnostics;
using System.Runtime.InteropServices;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using static Tmds.Linux.LibC;

namespace MuenBlock.Protocol.Sandboxing;

/// <summary>Gives up what a program could do as the user who started it and no longer needs (prctl(2), capabilities(7)).</summary>
public static unsafe partial class Privileges
{
    // linux/prctl.h
    private const int SetDumpable = 4;
    private const int SetNoNewPrivileges = 38;

    private const int BroadcastSignal = 64; // SIGRTMAX: neither the C library's (32, 33) nor the runtime's (34)
    private const uint CapabilityVersion = 0x2008_0522; // _LINUX_CAPABILITY_VERSION_3, linux/capability.h
    private const long TgkillCall = 234; // asm/unistd_64.h
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10); // for threads to take a signal

    // What each thread does: capabilities belong to threads, and nobody can take them from another one.
    private static ReadOnlySpan<byte> Handler =>
    [
        0x31, 0xdb, //                               xor  ebx, ebx
        0xb8, 0x9d, 0, 0, 0, //                next: mov  eax, 157               prctl
        0xbf, 0x18, 0, 0, 0, //                      mov  edi, 24                PR_CAPBSET_DROP
        0x89, 0xde, //                               mov  esi, ebx
        0x31, 0xd2, //                               xor  edx, edx
        0x45, 0x31, 0xd2, //                         xor  r10d, r10d
        0x45, 0x31, 0xc0, //                         xor  r8d, r8d
        0x0f, 0x05, //                               syscall                     fails for those that there are not, and without CAP_SETPCAP
        0xff, 0xc3, //                               inc  ebx
        0x83, 0xfb, 0x40, //                         cmp  ebx, 64
        0x72, 0xe3, //                               jb   next
        0xb8, 0x7e, 0, 0, 0, //                      mov  eax, 126               capset
        0x48, 0xbf, 0, 0, 0, 0, 0, 0, 0, 0, //       mov  rdi, header
        0x48, 0xbe, 0, 0, 0, 0, 0, 0, 0, 0, //       mov  rsi, sets
        0x0f, 0x05, //                               syscall
        0x48, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0, //       mov  rcx, failures
        0x48, 0x85, 0xc0, //                         test rax, rax
        0x74, 0x03, //                               jz   done
        0xf0, 0xff, 0x01, //                         lock inc dword [rcx]
        0xc3, //                               done: ret
    ];

    /// <summary>No program that this process would start could have more than it has. For the calling thread and those that it starts.</summary>
    public static void NeverGain() => _ = Control(SetNoNewPrivileges, 1, 0, 0, 0);

    /// <summary>Becomes another user, with all threads.</summary>
    /// <param name="name">The user's name.</param>
    /// <exception cref="ProgramException">There is no such user, or the process may not.</exception>
    public static void Become(string name)
    {
        Account* account = Find(name);
        if (account == null) throw new ProgramException(ExitCode.Usage, $"--user {name}: there is no such user");
        if (InitGroups(name, account->Group) != 0 || SetGroups(account->Group, account->Group, account->Group) != 0 || SetUsers(account->User, account->User, account->User) != 0)
            throw new ProgramException(ExitCode.Environment, $"--user {name}: {PosixFile.Describe(Marshal.GetLastPInvokeError())}: start as root, or as that user without --user");
    }

    /// <summary>Whether there is such a user.</summary>
    /// <param name="name">The user's name.</param>
    /// <returns>True if there is.</returns>
    public static bool IsUser(string name) => Find(name) != null;

    /// <summary>Keeps other processes of the same user from looking into this one, and its memory out of core dumps.</summary>
    public static void HideMemory() => _ = Control(SetDumpable, 0, 0, 0, 0);

    /// <summary>Gives up capabilities, with all threads and for good.</summary>
    /// <param name="keep">Those that stay, as far as the process has them: a bit for each CAP_* of linux/capability.h.</param>
    /// <exception cref="ProgramException">It was not possible.</exception>
    public static void DropCapabilities(ulong keep)
    {
        if (!NativeCode.IsSupported) return;
        try
        {
            // A thread that one of these starts meanwhile may be missed by one look, but not by the next.
            var threads = new ThreadCapabilities();
            Broadcast* broadcast = null;
            while (threads.Beyond(keep) is { Count: > 0 } holders)
            {
                if (broadcast == null) broadcast = Prepare(keep);
                holders.ForEach(Tell);

                // That a thread has run the handler says less than what it has then.
                for (long start = Stopwatch.GetTimestamp(); ; Thread.Sleep(1))
                {
                    _ = holders.RemoveAll(thread => !threads.IsBeyond(thread, keep));
                    if (holders.Count == 0) break;
                    if (Volatile.Read(ref broadcast->Failures) != 0) throw Failed("capset(2) failed");
                    if (Stopwatch.GetElapsedTime(start) > s_patience) throw Failed("a thread does not take the signal");
                }
            }

            SignalAction ignored = new() { Handler = 1 };
            if (broadcast != null) _ = SignalAction.Set(BroadcastSignal, &ignored, null);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Failed($"its threads cannot be looked at: {e.Message}", e is DirectoryNotFoundException ? "mount /proc" : "raise the limit on open files (ulimit -n, LimitNOFILE)");
        }
    }

    /// <summary>From now on a thread that takes the signal gives up what it is not to keep.</summary>
    private static Broadcast* Prepare(ulong keep)
    {
        var broadcast = (Broadcast*)NativeMemory.AllocZeroed((nuint)sizeof(Broadcast));
        broadcast->Version = CapabilityVersion;
        _ = Capget(&broadcast->Version, broadcast->Sets);
        broadcast->Limit(keep);
        const int headerAt = 0x26, setsAt = 0x30, failuresAt = 0x3c; // in the handler
        void* code = NativeCode.TryPlace(Handler, [(headerAt, (ulong)&broadcast->Version), (setsAt, (ulong)broadcast->Sets), (failuresAt, (ulong)&broadcast->Failures)]);
        if (code == null) throw Failed("memory cannot be made executable", NativeCode.Remedy);
        var action = new SignalAction { Handler = (nuint)code, Flags = SignalAction.WithInformation | SignalAction.OnAlternateStack | SignalAction.Restart };
        return SignalAction.Set(BroadcastSignal, &action, null) == 0 ? broadcast : throw Failed(PosixFile.Describe(errno));
    }

    private static void Tell(int thread)
    {
        if (Tgkill(TgkillCall, Environment.ProcessId, thread, BroadcastSignal) == 0) return;
        int error = Marshal.GetLastPInvokeError();
        if (error != ESRCH) throw Failed($"a thread cannot be told: {PosixFile.Describe(error)}", "raise the limit on pending signals (ulimit -i, LimitSIGPENDING)");
    }

    private static Account* Find(string name) => GetPasswd(name);

    private static ProgramException Failed(string why, string? remedy = null) =>
        new(ExitCode.Environment, $"privileges cannot be given up ({why}): {(remedy is null ? string.Empty : remedy + ", or ")}start with --sandbox off to keep them");

    [LibraryImport("libc", EntryPoint = "getpwnam", StringMarshalling = StringMarshalling.Utf8)]
    private static partial Account* GetPasswd(string name);

    [LibraryImport("libc", EntryPoint = "initgroups", StringMarshalling = StringMarshalling.Utf8, SetLastError = true)]
    private static partial int InitGroups(string name, uint group);

    [LibraryImport("libc", EntryPoint = "setresgid", SetLastError = true)]
    private static partial int SetGroups(uint real, uint effective, uint saved);

    [LibraryImport("libc", EntryPoint = "setresuid", SetLastError = true)]
    private static partial int SetUsers(uint real, uint effective, uint saved);

    [LibraryImport("libc", EntryPoint = "prctl")]
    private static partial int Control(int option, nuint argument, nuint argument3, nuint argument4, nuint argument5);

    [LibraryImport("libc", EntryPoint = "capget")]
    private static partial int Capget(uint* header, uint* sets);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial long Tgkill(long number, long process, long thread, long signal);

    /// <summary>struct passwd (pwd.h, on x86-64).</summary>
    [StructLayout(LayoutKind.Explicit)]
    private struct Account
    {
        [FieldOffset(16)] public uint User;
        [FieldOffset(20)] public uint Group;
    }

    /// <summary>What the handler reads, and counts.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Broadcast
    {
        // struct __user_cap_header_struct; the process id 0 is the calling thread.
        public uint Version;
        public int Process;

        // Two of struct __user_cap_data_struct: effective, permitted and inheritable of the low and of the high half.
        public fixed uint Sets[6];

        public int Failures;

        public void Limit(ulong keep)
        {
            for (int half = 0; half < 2; half++)
            {
                uint stays = (uint)(keep >> (32 * half)) & Sets[(half * 3) + 1];
                Sets[half * 3] = Sets[(half * 3) + 1] = stays;
                Sets[(half * 3) + 2] = 0;
            }
        }
    }
}
