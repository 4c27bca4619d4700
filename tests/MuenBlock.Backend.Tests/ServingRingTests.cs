using MuenBlock.Backend.Serving;
using MuenBlock.IoUring;
using Xunit;
using static Tmds.Linux.LibC;

namespace MuenBlock.Backend.Tests;

/// <summary>Whoever takes the backend over has its rings: they do nothing that the filter of system calls forbids.</summary>
public sealed class ServingRingTests
{
    // IORING_OP_*, linux/io_uring.h: CONNECT, OPENAT, OPENAT2, UNLINKAT, RENAMEAT, SOCKET, FIXED_FD_INSTALL.
    private static readonly byte[] s_forbidden = [16, 18, 28, 36, 35, 45, 54];

    private const string Worker = "iou-wrk-";

    [Theory]
    [InlineData(null)]
    [InlineData(1)]
    public void The_ring_of_a_connection_does_nothing_but_serve(int? idleMilliseconds)
    {
        using Ring ring = ServingRing.Create(idleMilliseconds is { } idle ? TimeSpan.FromMilliseconds(idle) : null);
        AssertIsRestricted(ring);
    }

    [Fact]
    public void So_does_that_for_polled_disks()
    {
        using Ring ring = ServingRing.CreatePolled();
        AssertIsRestricted(ring);
    }

    [Theory]
    [InlineData(null)]
    [InlineData(60_000)]
    [InlineData(null, true)]
    public void The_kernel_has_a_thread_for_what_cannot_be_done_at_once_before_there_is_any(int? idleMilliseconds, bool polled = false)
    {
        using Ring ring = polled ? ServingRing.CreatePolled() : ServingRing.Create(idleMilliseconds is { } idle ? TimeSpan.FromMilliseconds(idle) : null);
        ServingRing.StartWorker(ring);

        // Workers are named after the thread that they work for: this one, or the ring's own.
        string self = Path.GetFileName(File.ResolveLinkTarget("/proc/thread-self", returnFinalTarget: false)!.FullName);
        Assert.Contains(
            Directory.GetDirectories("/proc/self/task"),
            task => Name(task) is var name && name.StartsWith(Worker, StringComparison.Ordinal)
                && (idleMilliseconds is null ? name[Worker.Length..] == self : Name($"/proc/self/task/{name[Worker.Length..]}").StartsWith("iou-sqp-", StringComparison.Ordinal)));
    }

    private static string Name(string task)
    {
        try
        {
            return File.ReadAllText($"{task}/comm").TrimEnd();
        }
        catch (IOException)
        {
            // A thread of another test, which has ended.
            return string.Empty;
        }
    }

    private static void AssertIsRestricted(Ring ring)
    {
        foreach (byte operation in s_forbidden)
        {
            ring.NextEntry().Operation = (Operation)operation;
            _ = ring.Enter(1, 10_000_000_000);
            Assert.True(ring.TryTake(out Completion completion));
            Assert.Equal(-EACCES, completion.Result);
            ring.Release();
        }
    }
}
