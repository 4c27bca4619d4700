using MuenBlock.Protocol.Sandboxing;
using Xunit;
using Instruction = MuenBlock.Protocol.Sandboxing.SystemCallFilter.Instruction;

namespace MuenBlock.Protocol.Tests;

/// <summary>The filter's program, carried out as the kernel does (Documentation/networking/filter.rst).</summary>
public sealed class SystemCallFilterTests
{
    private const uint X8664 = 0xc000_003e;
    private const uint Allow = 0x7fff_0000;
    private const uint KillProcess = 0x8000_0000;
    private const uint FailsWithEperm = 0x0005_0001;
    private const uint FailsWithEnosys = 0x0005_0026;

    private static readonly Instruction[] s_backend = SystemCallFilter.Build(SystemCallFilter.Serving);
    private static readonly Instruction[] s_blockServer = SystemCallFilter.Build([.. SystemCallFilter.Serving, .. SystemCallFilter.Administering]);

    [Theory]
    [InlineData(426, Allow)] // io_uring_enter
    [InlineData(202, Allow)] // futex
    [InlineData(7, Allow)] // poll, which each line of the log begins with
    [InlineData(1, Allow)] // write
    [InlineData(231, Allow)] // exit_group
    [InlineData(150, Allow)] // munlock, which a region that is whole again begins with
    [InlineData(257, FailsWithEperm)] // openat
    [InlineData(425, FailsWithEperm)] // io_uring_setup
    [InlineData(41, FailsWithEperm)] // socket
    [InlineData(105, FailsWithEperm)] // setuid
    [InlineData(317, FailsWithEperm)] // seccomp
    [InlineData(9999, FailsWithEperm)]
    [InlineData(435, FailsWithEnosys)] // clone3
    [InlineData(59, KillProcess)] // execve
    [InlineData(322, KillProcess)] // execveat
    [InlineData(101, KillProcess)] // ptrace
    [InlineData(57, KillProcess)] // fork
    [InlineData(0x4000_0000 + 202, KillProcess)] // the same by its number of the x32 ABI
    public void A_backend_may_do_what_serving_takes(uint call, uint answer) => Assert.Equal(answer, Run(s_backend, call));

    [Theory]
    [InlineData(9, 3, Allow)] // mmap: reading and writing
    [InlineData(9, 5, FailsWithEperm)] // running
    [InlineData(10, 7, FailsWithEperm)] // mprotect
    [InlineData(10, 1, Allow)]
    [InlineData(329, 4, FailsWithEperm)] // pkey_mprotect
    public void No_memory_becomes_executable(uint call, uint protection, uint answer)
    {
        Assert.Equal(answer, Run(s_backend, call, third: protection));
        Assert.Equal(answer, Run(s_blockServer, call, third: protection));
    }

    [Theory]
    [InlineData(0x003d_0f00, Allow)] // a thread, as the C library makes it
    [InlineData(0x0120_0011, KillProcess)] // a process
    public void A_thread_may_be_started_and_a_process_may_not(uint flags, uint answer) => Assert.Equal(answer, Run(s_backend, 56, first: flags));

    [Fact]
    public void A_signal_reaches_no_other_process()
    {
        const uint tgkill = 234;
        foreach (Instruction[] program in (Instruction[][])[s_backend, s_blockServer])
        {
            Assert.Equal(Allow, Run(program, tgkill, first: (uint)Environment.ProcessId));
            Assert.Equal(FailsWithEperm, Run(program, tgkill, first: 1));
            foreach (uint other in (uint[])[62, 200, 129, 297, 424]) Assert.Equal(FailsWithEperm, Run(program, other, first: (uint)Environment.ProcessId)); // kill, tkill, rt_sigqueueinfo, rt_tgsigqueueinfo, pidfd_send_signal
        }
    }

    [Theory]
    [InlineData(0x2285, Allow)] // SG_IO
    [InlineData(0xc048_4e41, Allow)] // NVME_IOCTL_ADMIN_CMD
    [InlineData(0x1277, FailsWithEperm)] // BLKDISCARD
    public void A_backend_that_reads_SMART_data_may_send_the_commands_for_that(uint command, uint answer)
    {
        Assert.Equal(answer, Run(SystemCallFilter.Build(SystemCallFilter.Serving, readsSmart: true), 16, second: command));
        Assert.Equal(FailsWithEperm, Run(s_backend, 16, second: command));
    }

    [Fact]
    public void Another_architectures_numbers_are_not_looked_at() => Assert.Equal(KillProcess, Run(s_backend, 202, architecture: 0x4000_0003));

    [Theory]
    [InlineData(257, Allow)] // openat
    [InlineData(217, Allow)] // getdents64
    [InlineData(41, FailsWithEperm)] // socket
    [InlineData(59, KillProcess)] // execve
    public void A_server_of_block_devices_may_look_at_files_too(uint call, uint answer) => Assert.Equal(answer, Run(s_blockServer, call));

    private static uint Run(Instruction[] program, uint call, uint first = 0, uint second = 0, uint third = 0, uint architecture = X8664)
    {
        var data = new Dictionary<uint, uint> { [0] = call, [4] = architecture, [16] = first, [24] = second, [32] = third };
        uint accumulator = 0;
        for (int next = 0; ; next++)
        {
            Instruction instruction = program[next];
            bool taken = instruction.Code switch
            {
                0x15 => accumulator == instruction.Value,
                0x35 => accumulator >= instruction.Value,
                0x45 => (accumulator & instruction.Value) != 0,
                _ => false,
            };
            if (instruction.Code == 0x06) return instruction.Value;
            if (instruction.Code == 0x20) accumulator = data[instruction.Value];
            else next += taken ? instruction.IfTrue : instruction.IfFalse;
        }
    }
}
