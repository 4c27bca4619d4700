using System.Diagnostics;
using System.Globalization;
using Microsoft.Win32.SafeHandles;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using Xunit;
using static Tmds.Linux.LibC;

namespace MuenBlock.Protocol.Tests;

/// <summary>Claims on a file, and who is waited for. An opening here without a record lock is as good as a dead process's ring.</summary>
public sealed class FileClaimTests : IDisposable
{
    private readonly string _path = $"/dev/shm/muenblock-test-{Guid.NewGuid():n}";

    public FileClaimTests() => File.WriteAllBytes(_path, new byte[1]);

    public void Dispose() => File.Delete(_path);

    [Fact]
    public void A_file_that_nobody_has_is_claimed_at_once()
    {
        using SafeFileHandle file = Open();
        Assert.Equal(ClaimResult.Claimed, FileClaim.Take(file, _path, TimeSpan.Zero, Unexpected, Never, out _));
    }

    [Fact]
    public void What_is_left_of_a_dead_process_is_waited_for_as_long_as_it_takes_and_said_once()
    {
        SafeFileHandle dead = Open();
        Assert.True(PosixFile.TryLock(dead, _path));
        using SafeFileHandle file = Open();
        int told = 0;
        int looks = 0;
        Assert.Equal(ClaimResult.Claimed, FileClaim.Take(file, _path, TimeSpan.Zero, () => told++, Ends, out _));
        Assert.Equal(1, told);
        Assert.True(dead.IsClosed);

        bool Ends()
        {
            if (told > 0 && ++looks == 20) dead.Dispose();
            return false;
        }
    }

    [Fact]
    public void The_wait_ends_when_the_caller_wants_it()
    {
        using SafeFileHandle dead = Open();
        Assert.True(PosixFile.TryLock(dead, _path));
        using SafeFileHandle file = Open();
        Assert.Equal(ClaimResult.GivenUp, FileClaim.Take(file, _path, TimeSpan.Zero, Unexpected, static () => true, out _));
    }

    [Fact]
    public void A_living_process_is_not_waited_for_longer_than_the_grace_and_is_named()
    {
        using SafeFileHandle fence = Open();
        Assert.True(PosixFile.TryLock(fence, _path));
        using Process owner = LivingOwner();
        using SafeFileHandle file = Open();
        var clock = Stopwatch.StartNew();
        Assert.Equal(ClaimResult.Held, FileClaim.Take(file, _path, TimeSpan.FromMilliseconds(400), Unexpected, static () => false, out int holder));
        Assert.Equal(owner.Id, holder);

        // The grace is counted in ticks of the system's clock, which are some milliseconds long.
        Assert.InRange(clock.ElapsedMilliseconds, 350, 10_000);

        owner.Kill();
        owner.WaitForExit();
        bool told = false;
        Assert.Equal(ClaimResult.GivenUp, FileClaim.Take(file, _path, TimeSpan.Zero, () => told = true, () => told, out _));
    }

    [Fact]
    public void A_claim_has_both_locks_and_ends_with_its_opening()
    {
        SafeFileHandle file = Open();
        Assert.Equal(ClaimResult.Claimed, FileClaim.Take(file, _path, TimeSpan.Zero, Unexpected, Never, out _));
        Assert.Equal(Environment.ProcessId.ToString(CultureInfo.InvariantCulture), Perl("F_GETLK", "print((unpack 's s x4 q q i', $lock)[4])"));
        file.Dispose();
        using SafeFileHandle next = Open();
        Assert.Equal(ClaimResult.Claimed, FileClaim.Take(next, _path, TimeSpan.Zero, Unexpected, Never, out _));
    }

    [Fact]
    public void A_file_that_cannot_be_locked_is_no_file_of_a_dead_process()
    {
        // Of an O_PATH opening flock(2) is refused, as on a file system without locks; of one for reading the record lock.
        foreach (int flags in (int[])[O_PATH, O_RDONLY])
        {
            using SafeFileHandle file = PosixFile.TryOpen(_path, flags, out _)!;
            ProgramException refused = Assert.Throws<ProgramException>(() => FileClaim.Take(file, _path, TimeSpan.Zero, Unexpected, static () => true, out _));
            Assert.Equal(ExitCode.Resource, refused.ExitCode);
            Assert.StartsWith($"{_path} cannot be locked: Bad file descriptor: ", refused.Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(int.MaxValue, false)]
    [InlineData(1, true)]
    public void A_process_lives_if_it_is_there_and_not_about_to_end(int pid, bool lives) => Assert.Equal(lives, FileClaim.IsLiving(pid));

    [Theory]
    [InlineData(int.MaxValue, false)]
    [InlineData(1, true)]
    public void A_process_that_is_hidden_lives_if_there_is_one(int pid, bool lives)
    {
        Assert.Equal(lives, FileClaim.IsLiving(pid, "/dev/shm"));
        Assert.Equal("process 1", FileClaim.Describe(1));
        Assert.StartsWith("process 1, which is hidden", FileClaim.Describe(1, "/dev/shm"), StringComparison.Ordinal);
    }

    [Fact]
    public void A_process_that_nobody_has_waited_for_does_not_live()
    {
        // The shell's child ends, and the program that takes the shell's place does not wait for it.
        using Process parent = Start("sh", "-c", "sh -c 'echo $$' & exec sleep 60");
        int child = int.Parse(parent.StandardOutput.ReadLine()!, CultureInfo.InvariantCulture);
        Assert.True(SpinWait.SpinUntil(() => !FileClaim.IsLiving(child), TimeSpan.FromSeconds(10)));
        Assert.True(Directory.Exists($"/proc/{child}"));
        Assert.True(FileClaim.IsLiving(parent.Id));
        parent.Kill();
    }

    // A process that another test starts has a copy of every opening for a moment, so a lock may be let go of a little late.
    private static bool Never() => false;

    private static void Unexpected() => Assert.Fail("nothing had to be waited for");

    private static Process Start(string program, params string[] arguments) =>
        Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, UseShellExecute = false })!;

    private SafeFileHandle Open() => PosixFile.TryOpen(_path, O_RDWR, out int error) ?? throw new IOException(PosixFile.Describe(error));

    private Process LivingOwner()
    {
        Process owner = StartPerl("F_SETLK", "print \"held\\n\"; sleep 60");
        Assert.Equal("held", owner.StandardOutput.ReadLine());
        return owner;
    }

    private string Perl(string command, string then)
    {
        using Process perl = StartPerl(command, then);
        return perl.StandardOutput.ReadToEnd();
    }

    private Process StartPerl(string command, string then) => Start(
        "perl", "-MFcntl", "-e", $"open F, '+<', $ARGV[0]; my $lock = pack 's s x4 q q i x4', F_WRLCK, 0, 0, 0, 0; $| = 1; fcntl(F, {command}, $lock) or die; {then}", _path);
}
