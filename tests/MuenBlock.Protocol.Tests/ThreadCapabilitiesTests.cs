using MuenBlock.Protocol.Sandboxing;
using Xunit;

namespace MuenBlock.Protocol.Tests;

/// <summary>Which threads still have to give something up, found in a folder like the system's.</summary>
public sealed class ThreadCapabilitiesTests : IDisposable
{
    private const ulong Administer = 1ul << 21; // CAP_SYS_ADMIN

    private readonly string _folder = Directory.CreateTempSubdirectory("muenblock-threads-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(0, 0, 0, false)]
    [InlineData(0x1ff_ffff_ffff, 0, 0, true)]
    [InlineData(Administer, 0, 0, true)]
    [InlineData(Administer, 0, Administer, false)]
    [InlineData(Administer | 1, 0, Administer, true)]
    [InlineData(Administer, Administer, Administer, true)] // another program would have it
    public void A_thread_is_beyond_what_is_kept_by_what_it_has_or_passes_on(ulong permitted, ulong inheritable, ulong keep, bool isBeyond)
    {
        Thread(7, permitted, inheritable);
        Assert.Equal(isBeyond ? [7] : [], new ThreadCapabilities(_folder).Beyond(keep));
    }

    [Fact]
    public void A_rings_worker_takes_no_signal()
    {
        Thread(7, Administer, flags: 0x400040);
        Thread(8, Administer, flags: 0x400050);
        Assert.Equal([7], new ThreadCapabilities(_folder).Beyond(0));
    }

    [Fact]
    public void A_thread_that_is_gone_has_nothing()
    {
        Directory.CreateDirectory($"{_folder}/7");
        Assert.Empty(new ThreadCapabilities(_folder).Beyond(0));
        Assert.False(new ThreadCapabilities(_folder).IsBeyond(8, 0));
    }

    [Theory]
    [InlineData("status")]
    [InlineData("stat")]
    public void A_thread_that_cannot_be_looked_at_is_not_taken_for_one_that_is_gone(string file)
    {
        Thread(7, Administer);
        File.Delete($"{_folder}/7/{file}");
        Directory.CreateDirectory($"{_folder}/7/{file}"); // which cannot be read, not even by root
        Exception failure = Assert.ThrowsAny<Exception>(() => new ThreadCapabilities(_folder).Beyond(0));
        Assert.True(failure is IOException or UnauthorizedAccessException, failure.ToString());
    }

    private void Thread(int number, ulong permitted, ulong inheritable = 0, uint flags = 0x400040)
    {
        Directory.CreateDirectory($"{_folder}/{number}");
        File.WriteAllText($"{_folder}/{number}/status", $"Name:\tmuenblock\nCapInh:\t{inheritable:x16}\nCapPrm:\t{permitted:x16}\nCapEff:\t0000000000000000\n");
        File.WriteAllText($"{_folder}/{number}/stat", $"{number} (a name) with ) in it) S 1 2 3 4 5 {flags} 6 7 8\n");
    }
}
