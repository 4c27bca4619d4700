using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging.Abstractions;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using Xunit;

namespace MuenBlock.Protocol.Tests;

/// <summary>Regions as files of a directory.</summary>
public sealed unsafe partial class RegionTests : IDisposable
{
    private readonly string _folder = Directory.CreateDirectory($"/dev/shm/muenblock-test-{Guid.NewGuid():n}").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void A_region_that_is_missing_is_made_once_with_its_size_for_its_owner_alone()
    {
        string directory = Path.Combine(_folder, "new");
        Assert.True(Region.CreateIfMissing(directory, "a", 0x8000));
        Assert.False(Region.CreateIfMissing(directory, "a", 0x4000));
        Assert.Equal(0x8000, new FileInfo(Path.Combine(directory, "a")).Length);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(directory, "a")));
        Assert.Equal(["a"], Directory.GetFiles(directory).Select(Path.GetFileName));
    }

    [Fact]
    public void A_region_that_exists_takes_no_space_and_no_right_to_write_to_its_directory()
    {
        const long moreThanThereIs = 1L << 60;
        _ = Region.CreateIfMissing(_folder, "a", 8192);
        Assert.False(Region.CreateIfMissing(_folder, "a", moreThanThereIs));

        // In procfs nobody makes a file, not even root.
        Assert.False(Region.CreateIfMissing("/proc/self", "status", 8192));
        ProgramException failure = Assert.Throws<ProgramException>(() => Region.CreateIfMissing("/proc/self", "missing", 8192));
        Assert.Equal(ExitCode.Resource, failure.ExitCode);
        Assert.Contains("cannot create region /proc/self/missing", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_name_that_another_backend_took_meanwhile_keeps_its_region()
    {
        File.WriteAllText($"{_folder}/draft", "second");
        File.WriteAllText($"{_folder}/a", "first");
        Assert.False(Region.TryLink($"{_folder}/draft", $"{_folder}/a"));
        Assert.Equal("first", File.ReadAllText($"{_folder}/a"));
        Assert.True(Region.TryLink($"{_folder}/draft", $"{_folder}/b"));
    }

    [Fact]
    public void Two_mappings_of_a_region_are_one_memory()
    {
        _ = Region.CreateIfMissing(_folder, "a", 8192);
        using var writer = Region.Open(_folder, "a", writable: true, 4096);
        using var reader = Region.Open(_folder, "a", writable: false, 4096);
        writer.Memory[5000] = 42;
        Assert.Equal(42, reader.Memory[5000]);
        Assert.Equal(8192u, reader.Length);
    }

    [Theory]
    [InlineData("missing", "is missing")]
    [InlineData("small", "at least")]
    [InlineData("odd", "multiple")]
    [InlineData("link", "symbolic link")]
    [InlineData("folder", "directory")]
    [InlineData("empty", "at least")]
    public void What_cannot_be_a_region_is_refused_with_what_is_wrong(string name, string part)
    {
        File.WriteAllBytes($"{_folder}/small", new byte[4096]);
        File.WriteAllBytes($"{_folder}/odd", new byte[8193]);
        File.WriteAllBytes($"{_folder}/empty", []);
        File.WriteAllBytes($"{_folder}/good", new byte[8192]);
        File.CreateSymbolicLink($"{_folder}/link", $"{_folder}/good");
        Directory.CreateDirectory($"{_folder}/folder");
        ProgramException failure = Assert.Throws<ProgramException>(() => Region.Open(_folder, name, writable: true, 8192));
        Assert.Equal(ExitCode.Resource, failure.ExitCode);
        Assert.Contains(part, failure.Message, StringComparison.Ordinal);
        Assert.Contains($"{_folder}/{name}", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_region_that_is_larger_than_its_user_takes_is_refused_before_it_is_mapped()
    {
        using (FileStream file = File.Create($"{_folder}/huge")) file.SetLength(1L << 34);
        ProgramException failure = Assert.Throws<ProgramException>(() => Region.Open(_folder, "huge", writable: false, 4096, ConnectionString.MaximumChannelSize));
        Assert.Equal(ExitCode.Resource, failure.ExitCode);
        Assert.Contains("at most 67108864", failure.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(24, "Too many open files: raise the limit on open files")] // EMFILE, asm-generic/errno-base.h
    [InlineData(28, "No space left on device: make room")] // ENOSPC
    [InlineData(5, "Input/output error: look at the disk")] // EIO
    public void An_error_is_explained_with_what_can_be_done(int errno, string part) =>
        Assert.StartsWith(part, PosixFile.Explain(errno, "look at the disk"), StringComparison.Ordinal);

    [Theory]
    [InlineData("0", long.MaxValue)]
    [InlineData("0.0004", 1)]
    [InlineData("2", 2_000)]
    public void Only_no_time_at_all_is_never_worth_a_warning(string text, long milliseconds) => Assert.Equal(milliseconds, CommonOptions.ParseStallWarning(text));

    [Fact]
    public void A_file_is_one_region_whatever_its_names()
    {
        _ = Region.CreateIfMissing(_folder, "a", 8192);
        _ = Region.CreateIfMissing(_folder, "b", 8192);
        Assert.Equal(0, Link($"{_folder}/a", $"{_folder}/c"));
        var files = new RegionFiles(NullLogger.Instance);
        using Region a = files.Add(Region.Open(_folder, "a", writable: true, 4096));
        using Region b = files.Add(Region.Open(_folder, "b", writable: true, 4096));
        ProgramException failure = Assert.Throws<ProgramException>(() => files.Add(Region.Open(_folder, "c", writable: true, 4096)));
        Assert.Equal(ExitCode.Resource, failure.ExitCode);
        Assert.Contains($"{_folder}/a and {_folder}/c are the same file", failure.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(4096)]
    public void A_truncated_region_reads_as_zeros_and_is_marked_as_lost_instead_of_ending_the_process(long rest)
    {
        _ = Region.CreateIfMissing(_folder, "a", 16384);
        _ = Region.CreateIfMissing(_folder, "b", 16384);
        using var written = Region.Open(_folder, "a", writable: true, 4096);
        using var read = Region.Open(_folder, "a", writable: false, 4096);
        using var other = Region.Open(_folder, "b", writable: true, 4096);
        written.Memory[16383] = 1;
        other.Memory[16383] = 2;
        Truncate("a", rest);
        Assert.Equal(0, read.Memory[16383]);
        written.Memory[8192] = 3;
        Assert.Equal((3, true, true), (written.Memory[8192], written.IsLost, read.IsLost));
        Assert.Equal((2, false), (other.Memory[16383], other.IsLost));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void What_takes_a_lost_regions_place_is_memory_that_the_system_does_not_have_to_promise(bool isTouched)
    {
        const int size = 16384;
        _ = Region.CreateIfMissing(_folder, "a", size);
        using Region region = Region.Open(_folder, "a", writable: true, 4096);
        using Region other = Region.Open(_folder, "a", writable: true, 4096);
        Truncate("a", 0);
        if (isTouched) region.Memory[size - 1] = other.Memory[size - 1] = 1;
        Assert.True(region.LookForLoss() && other.LookForLoss());
        Assert.DoesNotContain("ac", FlagsOf(region)); // accounted
        region.Memory[4096] = 2;
        Assert.Equal(0, other.Memory[4096]);

        // It is empty the next time.
        for (int turn = 0; turn < 2; turn++)
        {
            Truncate("a", size);
            Assert.True(region.TryRestore());
            Assert.Equal(0, region.Memory[4096]);
            region.Memory[4096] = 3;
            Truncate("a", 0);
            Assert.True(region.LookForLoss());
            Assert.Equal(0, region.Memory[4096]);
            region.Memory[4096] = 4;
        }
    }

    [Fact]
    public void A_lost_region_is_mapped_again_once_its_file_has_its_size_again()
    {
        _ = Region.CreateIfMissing(_folder, "a", 16384);
        using var region = Region.Open(_folder, "a", writable: true, 4096);
        using var peer = Region.Open(_folder, "a", writable: true, 4096);
        byte* memory = region.Memory;
        for (int turn = 0; turn < 3; turn++)
        {
            Truncate("a", 8192);
            region.Memory[12288] = 1;
            peer.Memory[12288] = 1;
            Assert.False(region.TryRestore());
            Truncate("a", 12288);
            Assert.False(region.TryRestore());
            Truncate("a", 16384);
            Assert.True(region.TryRestore());
            Assert.True(peer.TryRestore());
            Assert.False(region.IsLost);
            region.Memory[16383] = 7;
            Assert.Equal(7, peer.Memory[16383]);
        }

        Assert.True(memory == region.Memory);
    }

    [Fact]
    public void A_truncation_that_nobody_has_met_is_found_by_looking_at_the_file()
    {
        _ = Region.CreateIfMissing(_folder, "a", 8192);
        using var region = Region.Open(_folder, "a", writable: true, 4096);
        Assert.False(region.LookForLoss());
        Truncate("a", 16384);
        Assert.False(region.LookForLoss());
        Truncate("a", 4096);
        Assert.False(region.IsLost);
        Assert.True(region.LookForLoss());
        Assert.True(region.IsLost);
        region.Memory[8191] = 1;
        Assert.Equal(4096, new FileInfo($"{_folder}/a").Length);
    }

    [Fact]
    public void A_look_that_finds_no_loss_allocates_nothing()
    {
        foreach (string name in (string[])["a", "b", "c"]) _ = Region.CreateIfMissing(_folder, name, 8192);
        using var a = Region.Open(_folder, "a", writable: true, 4096);
        using var b = Region.Open(_folder, "b", writable: false, 4096);
        using var c = Region.Open(_folder, "c", writable: true, 4096);
        var regions = new RegionSet(a, b, c);
        Assert.False(regions.LookForLoss());
        var meter = new AllocationMeter();
        meter.Restart();
        for (int i = 0; i < 100; i++) Assert.False(regions.LookForLoss());
        Assert.Equal(0, meter.Bytes);
    }

    [Fact]
    public void A_file_that_was_truncated_and_is_whole_again_may_have_other_pages()
    {
        _ = Region.CreateIfMissing(_folder, "a", 8192);
        using var region = Region.Open(_folder, "a", writable: true, 4096);

        // A change that is young may hide another one.
        Assert.True(SpinWait.SpinUntil(() => !region.MayHaveOtherPages(), 30_000));
        region.Memory[0] = 1;
        Assert.False(region.MayHaveOtherPages());
        Truncate("a", 0);
        Truncate("a", 8192);
        Assert.True(region.MayHaveOtherPages());
    }

    [Theory]
    [InlineData(0, true)]
    [InlineData(1, true)]
    [InlineData(2, false)]
    [InlineData(-1, true)] // a second that has begun meanwhile
    [InlineData(-3600, false)]
    public void A_change_may_hide_another_one_only_if_it_was_just_now(long age, bool young) => Assert.Equal(young, Region.IsYoung(age));

    [Fact]
    public void Regions_of_one_process_are_guarded_one_by_one_however_often_they_come_and_go()
    {
        for (int i = 0; i < 5000; i++)
        {
            _ = Region.CreateIfMissing(_folder, "a", 4096);
            using var region = Region.Open(_folder, "a", writable: true, 4096);
            Truncate("a", 0);
            region.Memory[i % 4096] = 1;
            Assert.True(region.IsLost);
            File.Delete($"{_folder}/a");
        }
    }

    [Fact]
    public void A_directory_has_one_path_however_it_is_spelled()
    {
        Directory.CreateDirectory($"{_folder}/a/b");
        Directory.CreateSymbolicLink($"{_folder}/link", "a");
        Directory.CreateSymbolicLink($"{_folder}/chain", $"{_folder}/link/b");
        foreach (string spelled in new[] { "a/b", "a/b/", "link/b", "chain", "a/../link/./b//" }) Assert.Equal($"{_folder}/a/b", RegionDirectory.Resolve($"{_folder}/{spelled}"));

        // It may be made later.
        Assert.Equal($"{_folder}/a/c/d", RegionDirectory.Resolve($"{_folder}/link/c/d"));
        Assert.Equal("/", RegionDirectory.Resolve("/"));
    }

    [Fact]
    public void The_default_directory_is_Muens_where_that_is_mounted()
    {
        string mounts = Path.Combine(_folder, "mounts");
        File.WriteAllText(mounts, "proc /proc proc rw 0 0\nmuenfs /muenfs muenfs rw 0 0\n");
        Assert.Equal("/muenfs", RegionDirectory.Default(mounts));
        File.WriteAllText(mounts, "proc /proc proc rw 0 0\nx /muenfs2 muenfs rw 0 0\n");
        Assert.Equal("/dev/shm/muenblock", RegionDirectory.Default(mounts));
        Assert.Equal("/dev/shm/muenblock", RegionDirectory.Default(Path.Combine(_folder, "none")));
        Assert.Null(RegionDirectory.DefaultEvents(mounts));
        File.WriteAllText(mounts, "muenfs /muenfs muenfs rw 0 0\nmuenevents /muenevents muenevents rw 0 0\n");
        Assert.Equal("/muenevents", RegionDirectory.DefaultEvents(mounts));
    }

    /// <summary>VmFlags of a region's memory (proc_pid_smaps(5)).</summary>
    private static string[] FlagsOf(Region region) =>
        File.ReadLines("/proc/self/smaps").SkipWhile(line => !line.StartsWith($"{(ulong)region.Memory:x}-", StringComparison.Ordinal))
            .First(line => line.StartsWith("VmFlags:", StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries);

    [LibraryImport("libc", EntryPoint = "link", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Link(string target, string name);

    private void Truncate(string name, long size)
    {
        using var file = new FileStream($"{_folder}/{name}", FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
        file.SetLength(size);
    }
}
