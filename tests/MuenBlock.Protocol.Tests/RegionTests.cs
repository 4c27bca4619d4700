using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using Xunit;

namespace MuenBlock.Protocol.Tests;

/// <summary>Regions as files of a directory.</summary>
public sealed unsafe class RegionTests : IDisposable
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
    public void The_default_directory_is_Muens_where_that_is_mounted()
    {
        string mounts = Path.Combine(_folder, "mounts");
        File.WriteAllText(mounts, "proc /proc proc rw 0 0\nmuenfs /muenfs muenfs rw 0 0\n");
        Assert.Equal("/muenfs", RegionDirectory.Default(mounts));
        File.WriteAllText(mounts, "proc /proc proc rw 0 0\nx /muenfs2 muenfs rw 0 0\n");
        Assert.Equal("/dev/shm/muenblock", RegionDirectory.Default(mounts));
        Assert.Equal("/dev/shm/muenblock", RegionDirectory.Default(Path.Combine(_folder, "none")));
    }
}
