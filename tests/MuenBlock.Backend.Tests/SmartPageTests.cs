using Microsoft.Win32.SafeHandles;
using MuenBlock.Backend.Disks;
using MuenBlock.Backend.Serving;
using MuenBlock.Protocol.Messages;
using Xunit;

namespace MuenBlock.Backend.Tests;

/// <summary>How often a disk is asked for its SMART data, whatever its clients ask.</summary>
public sealed class SmartPageTests : IDisposable
{
    private const int ReadMilliseconds = 5_000; // of a drive that spins up

    private readonly SemaphoreSlim _mayEnd = new(0);
    private readonly SmartPage _page;
    private long _now;
    private long _betweenLooks;
    private int _reads;

    public SmartPageTests() => _page = SmartPage.TryRead(Read, () => Interlocked.Add(ref _now, _betweenLooks))!;

    public void Dispose() => _mayEnd.Dispose();

    [Fact]
    public void A_disk_that_takes_long_is_asked_once_for_all_that_wait()
    {
        _mayEnd.Release(100);
        _now += 1_000;
        byte[] data = new byte[SmartCommands.PageSize];
        for (int i = 0; i < 10; i++) Assert.Equal(SmartStatus.Ok, _page.CopyTo(data, mayRead: true));
        Assert.Equal((2, 2), (_reads, data[0]));
        _now += 1_000;
        _page.CopyTo(data, mayRead: true);
        Assert.Equal((3, 3), (_reads, data[0]));
    }

    [Fact]
    public void A_disk_whose_data_is_kept_is_asked_no_more()
    {
        _mayEnd.Release(100);
        _page.Keep();
        _now += 1_000;
        byte[] data = new byte[SmartCommands.PageSize];
        Assert.Equal(SmartStatus.Ok, _page.CopyTo(data, mayRead: true));
        Assert.Equal((1, 1), (_reads, data[0]));
    }

    [Fact]
    public unsafe void What_is_queued_when_its_answers_are_waited_for_is_answered_without_the_disk()
    {
        const int asked = 5;
        byte[] buffer = GC.AllocateArray<byte>(asked * SmartCommands.PageSize, pinned: true);
        using var disk = new Disk("disk", new SafeFileHandle(), null)
        {
            Identity = 1,
            Size = 4096,
            BlockLength = 512,
            IsDirect = true,
            IsRotational = false,
            Discard = DiscardMethod.None,
            Smart = _page,
        };
        fixed (byte* memory = buffer)
        {
            // What was read is never fresh.
            _betweenLooks = 1_000;
            using var thread = new SmartThread([disk], memory, asked, 1);
            thread.Ask(0, 0, 0);
            Assert.True(SpinWait.SpinUntil(() => Volatile.Read(ref _reads) == 2, TimeSpan.FromSeconds(30)));
            for (uint i = 1; i < asked; i++) thread.Ask(i, 0, i * SmartCommands.PageSize);
            thread.Hurry();
            _mayEnd.Release(asked);
            for (uint i = 0; i < asked; i++)
            {
                uint slot = 0;
                SmartStatus status = SmartStatus.Failure;
                Assert.True(SpinWait.SpinUntil(() => thread.TryTake(out slot, out status), TimeSpan.FromSeconds(30)), "an answer is missing");
                Assert.Equal((i, SmartStatus.Ok, (byte)2), (slot, status, buffer[i * SmartCommands.PageSize]));
            }
        }

        Assert.Equal(2, _reads);
    }

    [Fact]
    public void A_client_that_makes_its_request_channel_huge_can_ask_for_no_more_at_a_time() => Assert.Equal(1024u, SmartThread.MostAsked(64 << 20, 16 << 10));

    private SmartStatus? Read(byte[] page)
    {
        page[0] = (byte)(_reads + 1);
        if (Interlocked.Increment(ref _reads) > 1) _mayEnd.Wait();
        Interlocked.Add(ref _now, ReadMilliseconds);
        return SmartStatus.Ok;
    }
}
