using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Control;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Tests;

/// <summary>What is said to somebody who lets a device grow by hand.</summary>
public sealed class DeviceGrowthTests : IDisposable
{
    private const int Server = 100;
    private const ulong Before = 1 << 20;

    private readonly FakeDriver _driver = new();
    private readonly FakeMachine _machine;
    private readonly ControlPlane _control;

    public DeviceGrowthTests()
    {
        _machine = new FakeMachine(_driver);
        _control = _driver.OpenPlane();
        _driver.Put(0, pid: Server);
        _control.Resize(0, Before);
        _machine.Servers.Add(0);
        _machine.Records[0] = DeviceRecordTests.Example(0, Server, "/log") with { SizeAsked = DateTimeOffset.UnixEpoch, ServerSize = Before };
    }

    public void Dispose() => _control.Dispose();

    [Theory]
    [InlineData(Before * 2, Before * 2, "/dev/ublkb0 has grown from 1048576 to 2097152 bytes")]
    [InlineData(Before, Before, "/dev/ublkb0 has 1048576 bytes, as its disk")]
    public void A_server_that_answers_makes_it_as_large_as_its_disk(ulong disk, ulong device, string said)
    {
        Answer(disk, device);
        Assert.Equal(said, new DeviceGrowth(_control, _machine).Grow(0));
    }

    [Theory]
    [InlineData(Before / 2, ExitCode.Resource, "stays as it is: its disk has only 524288 bytes")]
    [InlineData(Before * 2, ExitCode.Kernel, "and not the 2097152 of its disk")]
    [InlineData(0ul, ExitCode.Peer, "its backend did not say how large the disk is")]
    [InlineData(1ul << 63, ExitCode.Peer, "its backend says that the disk is larger than a disk can be")]
    public void What_does_not_grow_is_said_with_the_reason(ulong disk, ExitCode code, string said)
    {
        Answer(disk, Before);
        Refused(0, code, said);
    }

    [Fact]
    public void A_kernel_that_cannot_is_named()
    {
        _driver.Features &= ~UblkFeatures.UpdateSize;
        using ControlPlane old = _driver.OpenPlane();
        Answer(Before * 2, Before);
        ProgramException failure = Assert.Throws<ProgramException>(() => new DeviceGrowth(old, _machine).Grow(0));
        Assert.Equal(ExitCode.Environment, failure.ExitCode);
        Assert.Contains("Linux 6.16 or newer", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_server_that_does_not_answer_is_waited_for_20_s_and_what_it_answered_before_does_not_count()
    {
        Refused(0, ExitCode.Peer, "has 1048576 bytes as before");
        Assert.InRange(_machine.Milliseconds, 20_000, 20_100);
    }

    [Fact]
    public void A_device_without_a_server_or_of_another_program_is_refused_and_nobody_is_asked()
    {
        _machine.Asked = _ => Assert.Fail("somebody was asked");
        _driver.Put(1, DeviceState.Quiesced);
        _driver.Put(2, ours: false);
        _driver.Put(3, pid: 555);
        Refused(1, ExitCode.NotFound, "'muenblock-ublk recover 1' gives it one");
        Refused(2, ExitCode.NotFound, "another program's");
        Refused(3, ExitCode.Busy, "process 555");
        Refused(4, ExitCode.NotFound, "there is no /dev/ublkb4");
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(Server)]
    public void A_server_that_cannot_be_seen_is_not_taken_for_none(int pid)
    {
        _machine.Asked = _ => Assert.Fail("somebody was asked");
        _machine.SeesAllProcesses = false;
        _driver.Put(1, pid: pid);
        Refused(1, ExitCode.Busy, "/dev/ublkb1 is served by a process that cannot be seen from here");
        _machine.SeesAllProcesses = true;
        _driver.Put(1, pid: -1);
        Refused(1, ExitCode.NotFound, "'muenblock-ublk recover 1' gives it one");
    }

    [Theory]
    [InlineData(1ul << 40, 1ul << 49)]
    [InlineData(1ul << 55, ulong.MaxValue)]
    [InlineData((1ul << 55) + 8, ulong.MaxValue)]
    public void A_size_that_no_number_holds_is_not_taken_for_a_small_one(ulong blocks, ulong size) =>
        Assert.Equal(size, new DeviceGeometry(blocks, 512, 256, DeviceTraits.Known).Size);

    private void Answer(ulong disk, ulong device) => _machine.Asked = id => _machine.At(_machine.Milliseconds + 500, () =>
    {
        if (device != Before) _control.Resize(id, device);
        _machine.Records[id] = _machine.Records[id] with { SizeAsked = DateTimeOffset.UnixEpoch.AddSeconds(1), ServerSize = disk };
    });

    private void Refused(int id, ExitCode code, string said)
    {
        ProgramException failure = Assert.Throws<ProgramException>(() => new DeviceGrowth(_control, _machine).Grow(id));
        Assert.Equal(code, failure.ExitCode);
        Assert.Contains(said, failure.Message, StringComparison.Ordinal);
    }
}
