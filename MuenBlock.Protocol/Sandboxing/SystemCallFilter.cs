using System.Runtime.InteropServices;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using static Tmds.Linux.LibC;

namespace MuenBlock.Protocol.Sandboxing;

/// <summary>
/// Leaves a running program only the system calls that it needs (seccomp(2)). Any other one fails with EPERM and is written to the
/// kernel's audit log; the few that only an intruder would try end the process.
/// </summary>
/// <remarks>
/// EPERM, as a rare path of the runtime or of the C library that is denied something copes with that, while a backend that is ended
/// leaves its clients waiting. The filter does not see what a ring is asked to do.
/// </remarks>
public static unsafe partial class SystemCallFilter
{
    /// <summary>System calls that both programs make while they serve: their threads', the runtime's and the C library's (asm/unistd_64.h).</summary>
    internal static readonly SystemCall[] Serving =
    [
        SystemCall.IoUringEnter, SystemCall.Futex, SystemCall.Write, SystemCall.Read, SystemCall.ClockGettime, SystemCall.IoUringRegister,
        SystemCall.RtSigreturn, SystemCall.RtSigprocmask, SystemCall.RtSigaction, SystemCall.SchedYield, SystemCall.Fstat,
        SystemCall.Close, SystemCall.Poll, SystemCall.Lseek, SystemCall.Munmap, SystemCall.Brk, SystemCall.Madvise, SystemCall.Munlock, SystemCall.Mremap,
        SystemCall.Getpid, SystemCall.Gettid, SystemCall.Sigaltstack, SystemCall.SetRobustList, SystemCall.Rseq,
        SystemCall.Exit, SystemCall.ExitGroup, SystemCall.Membarrier, SystemCall.ClockNanosleep, SystemCall.Nanosleep, SystemCall.SchedGetaffinity,
        SystemCall.Getrandom, SystemCall.RestartSyscall, SystemCall.Getcpu, SystemCall.Sysinfo, SystemCall.Prctl,
    ];

    /// <summary>What a server of block devices does besides: it looks for the users of a device, writes and deletes its records, and watches its memory.</summary>
    internal static readonly SystemCall[] Administering =
    [
        SystemCall.Openat, SystemCall.Newfstatat, SystemCall.Statx, SystemCall.Readlink, SystemCall.Readlinkat, SystemCall.Getdents64, SystemCall.Unlink,
        SystemCall.Unlinkat, SystemCall.Fcntl, SystemCall.Pread64, SystemCall.Access, SystemCall.Faccessat2, SystemCall.Flock, SystemCall.Ftruncate,
        SystemCall.Stat, SystemCall.Lstat, SystemCall.Open, SystemCall.Fadvise64, SystemCall.Dup2, SystemCall.Dup, SystemCall.Rename, SystemCall.Mkdir,
        SystemCall.Pwrite64, SystemCall.Getcwd, SystemCall.Getuid, SystemCall.Geteuid, SystemCall.Eventfd2, SystemCall.IoUringSetup, SystemCall.Ioctl,
        SystemCall.Fstatfs, SystemCall.Getrusage,
    ];

    // Nobody who serves disks does any of this.
    private static readonly SystemCall[] s_fatal =
    [
        SystemCall.Execve, SystemCall.Execveat, SystemCall.Ptrace, SystemCall.ProcessVmReadv, SystemCall.ProcessVmWritev, SystemCall.Bpf,
        SystemCall.InitModule, SystemCall.FinitModule, SystemCall.KexecLoad, SystemCall.KexecFileLoad, SystemCall.Mount, SystemCall.Fork, SystemCall.Vfork,
    ];

    // linux/seccomp.h
    private const long SetModeFilter = 1;
    private const long AllThreads = 1 << 0; // SECCOMP_FILTER_FLAG_TSYNC
    private const long LogDenied = 1 << 1; // SECCOMP_FILTER_FLAG_LOG
    private const uint KillProcess = 0x8000_0000;
    private const uint FailWith = 0x0005_0000; // SECCOMP_RET_ERRNO
    private const uint Allow = 0x7fff_0000;
    private const uint NumberAt = 0; // offsets in struct seccomp_data
    private const uint ArchitectureAt = 4;
    private const uint FirstArgumentAt = 16; // its low half; each argument has 8 bytes

    private const uint X8664 = 0xc000_003e; // AUDIT_ARCH_X86_64, linux/audit.h
    private const uint X32Bit = 0x4000_0000; // __X32_SYSCALL_BIT, asm/unistd.h
    private const uint Executable = 0x4; // PROT_EXEC
    private const uint OfThisProcess = 0x0001_0000; // CLONE_THREAD
    private const uint ScsiCommand = 0x2285; // SG_IO, scsi/sg.h
    private const uint NvmeAdminCommand = 0xc048_4e41; // NVME_IOCTL_ADMIN_CMD, linux/nvme_ioctl.h
    private const uint Eperm = 1;
    private const uint Enosys = 38;

    private const long SystemCallNumber = 317; // __NR_seccomp

    /// <summary>Installs the filter for every thread of the process, for good.</summary>
    /// <param name="administers">Whether the program administers block devices as well.</param>
    /// <param name="readsSmart">Whether it sends the two commands that SMART data is read by.</param>
    /// <exception cref="ProgramException">The system has no such filters.</exception>
    public static void Install(bool administers, bool readsSmart)
    {
        Instruction[] program = Build(administers ? [.. Serving, .. Administering] : Serving, readsSmart);
        fixed (Instruction* instructions = program)
        {
            var description = new Description { Length = (ushort)program.Length, Instructions = instructions };
            long result = Seccomp(SystemCallNumber, SetModeFilter, AllThreads | LogDenied, &description);
            if (result == 0) return;
            string why = result > 0 ? $"thread {result} has another one" : PosixFile.Describe(errno);
            throw new ProgramException(ExitCode.Environment, $"the filter of system calls cannot be installed ({why}): start with --sandbox off if the machine has none");
        }
    }

    /// <summary>The filter as a program of the kernel's packet filter (linux/filter.h).</summary>
    /// <param name="allowed">What is allowed; memory stays not executable, threads are the only children, and signals reach this process alone.</param>
    /// <param name="readsSmart">Whether the two ioctls for SMART data are allowed.</param>
    internal static Instruction[] Build(IReadOnlyList<SystemCall> allowed, bool readsSmart = false)
    {
        var program = new List<Instruction>
        {
            Instruction.Load(ArchitectureAt),
            Instruction.IfEqual(X8664, 1, 0),
            Instruction.Return(KillProcess),
            Instruction.Load(NumberAt),
            Instruction.IfAtLeast(X32Bit, 0, 1),
            Instruction.Return(KillProcess),
        };
        foreach (SystemCall call in allowed) Answer(call, Allow);
        foreach (SystemCall call in s_fatal) Answer(call, KillProcess);

        // The C library then takes clone, whose flags can be seen.
        Answer(SystemCall.Clone3, FailWith | Enosys);
        foreach (SystemCall call in (SystemCall[])[SystemCall.Mmap, SystemCall.Mprotect, SystemCall.PkeyMprotect])
        {
            const uint protection = FirstArgumentAt + (2 * 8);
            AnswerBy(call, [Instruction.Load(protection), Instruction.IfAnyBit(Executable, 1, 0), Instruction.Return(Allow), Instruction.Return(FailWith | Eperm)]);
        }

        // The runtime signals its own threads. Other processes of the same user are none of a program's business.
        AnswerBy(
            SystemCall.Tgkill,
            [Instruction.Load(FirstArgumentAt), Instruction.IfEqual((uint)Environment.ProcessId, 1, 0), Instruction.Return(FailWith | Eperm), Instruction.Return(Allow)]);
        AnswerBy(SystemCall.Clone, [Instruction.Load(FirstArgumentAt), Instruction.IfAnyBit(OfThisProcess, 0, 1), Instruction.Return(Allow), Instruction.Return(KillProcess)]);
        if (readsSmart)
        {
            const uint command = FirstArgumentAt + 8;
            AnswerBy(
                SystemCall.Ioctl,
                [Instruction.Load(command), Instruction.IfEqual(ScsiCommand, 2, 0), Instruction.IfEqual(NvmeAdminCommand, 1, 0), Instruction.Return(FailWith | Eperm), Instruction.Return(Allow)]);
        }

        program.Add(Instruction.Return(FailWith | Eperm));
        return [.. program];

        void Answer(SystemCall call, uint action) => AnswerBy(call, [Instruction.Return(action)]);

        void AnswerBy(SystemCall call, Instruction[] answer)
        {
            program.Add(Instruction.IfEqual((uint)call, 0, (byte)answer.Length));
            program.AddRange(answer);
        }
    }

    [LibraryImport("libc", EntryPoint = "syscall")]
    private static partial long Seccomp(long number, long operation, long flags, Description* program);

    /// <summary>struct sock_filter.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal readonly record struct Instruction(ushort Code, byte IfTrue, byte IfFalse, uint Value)
    {
        /// <summary>Loads 32 bits of the call's description.</summary>
        public static Instruction Load(uint offset) => new(0x20, 0, 0, offset); // BPF_LD | BPF_W | BPF_ABS

        /// <summary>Passes over so many instructions.</summary>
        public static Instruction IfEqual(uint value, byte then, byte otherwise) => new(0x15, then, otherwise, value); // BPF_JMP | BPF_JEQ | BPF_K

        /// <summary>Passes over so many instructions.</summary>
        public static Instruction IfAtLeast(uint value, byte then, byte otherwise) => new(0x35, then, otherwise, value); // BPF_JMP | BPF_JGE | BPF_K

        /// <summary>Passes over so many instructions.</summary>
        public static Instruction IfAnyBit(uint bits, byte then, byte otherwise) => new(0x45, then, otherwise, bits); // BPF_JMP | BPF_JSET | BPF_K

        /// <summary>Ends the program.</summary>
        public static Instruction Return(uint action) => new(0x06, 0, 0, action); // BPF_RET | BPF_K
    }

    /// <summary>struct sock_fprog.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Description
    {
        public ushort Length;
        public Instruction* Instructions;
    }
}
