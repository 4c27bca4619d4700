using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Control;
using MuenBlock.Ublk.Queues;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Tests;

/// <summary>A device is taken over only if it is still the one that was found, and if the servers have what its users were promised.</summary>
public sealed class WaitingDevicesTests : IDisposable
{
    private const uint Connection = 5;
    private const ulong Size = 1 << 20;

    private static readonly DeviceGeometry s_geometry = new(Size / 512, 512, 65536, DeviceTraits.Known) { Identity = 11 };
    private static readonly DeviceGeometry s_readOnly = s_geometry with { Traits = DeviceTraits.Known | DeviceTraits.ReadOnly };
    private static readonly DevicePromise s_writable = new(Size, IsReadOnly: false);

    private readonly FakeDriver _driver = new();
    private readonly ControlPlane _control;
    private readonly WaitingDevices _waiting;
    private readonly DeviceInfo _found;

    public WaitingDevicesTests()
    {
        _control = _driver.OpenPlane();
        _waiting = new WaitingDevices(_control, static id => DeviceRecordTests.Example(id) with { Disk = DeviceRecord.FormatDisk(11) });
        Put(DeviceState.Quiesced, Connection);
        _driver.Parameters[0] = new DeviceParameters
        {
            Types = ParameterTypes.Basic,
            Basic = new BasicParameters { LogicalBlockShift = 9, DeviceSectors = Size / 512 },
        };
        _found = _driver.Devices[0];
    }

    public void Dispose() => _control.Dispose();

    [Fact]
    public void A_device_that_still_waits_is_the_one_that_was_found_also_if_another_server_has_died_meanwhile()
    {
        Put(DeviceState.FailIo, Connection, pid: 200);
        Assert.Equal(DeviceState.FailIo, _waiting.LookAgain(_found).State);
    }

    [Fact]
    public void One_that_was_deleted_or_taken_over_meanwhile_is_refused()
    {
        Put(DeviceState.Live, Connection);
        IsRefused();
        Put(DeviceState.Dead, Connection);
        IsRefused();
        _driver.Devices.Clear();
        IsRefused();
    }

    // Such as that of another connection, which had got its number and has lost its server since.
    [Fact]
    public void Another_one_that_waits_under_its_number_is_refused()
    {
        Put(DeviceState.Quiesced, Connection + 1);
        IsRefused();
        foreach (DeviceInfo other in new[] { _found with { HardwareQueues = 2 }, _found with { QueueDepth = 32 }, _found with { LargestIoBytes = 4096 } })
        {
            _driver.Devices[0] = other;
            IsRefused();
        }
    }

    [Fact]
    public void Servers_that_have_what_was_promised_or_more_take_it_over()
    {
        Assert.Equal(s_writable, Compare(s_geometry));
        Assert.Equal(s_writable, Compare(s_geometry with { Blocks = Size, Identity = 0 }));
    }

    [Fact]
    public void Servers_that_have_less_or_another_disk_do_not()
    {
        Refused("the backend has no device 0 any more", s_geometry with { Blocks = 0 });
        Refused("the backend has no device 0 any more");
        Refused("blocks of 4096 bytes instead of 512", s_geometry with { BlockLength = 4096 });
        Refused($"{Size - 512} bytes instead of {Size}", s_geometry with { Blocks = s_geometry.Blocks - 1 });
        Refused("takes I/O of 512 bytes", s_geometry with { MostBlocks = 1 });
        Refused("is disk 000000000000000d instead of 000000000000000b", s_geometry with { Identity = 13 });
        Assert.Equal(s_writable, Compare(s_geometry with { Identity = 13 }, accepts: true));
    }

    [Fact]
    public void A_device_that_may_be_written_is_not_taken_over_with_a_server_that_lets_nobody_write_unless_that_is_wanted()
    {
        Refused("device 0 of the backend is read-only, and what waits to be written would fail", s_readOnly);
        Assert.Equal(s_writable, Compare(s_readOnly, accepts: true));
        Assert.Equal(s_writable, Compare(s_geometry with { Traits = DeviceTraits.None }));
    }

    [Fact]
    public void A_device_that_was_added_read_only_may_have_any_server()
    {
        DeviceParameters parameters = _driver.Parameters[0];
        parameters.Basic.Attributes = DeviceAttributes.ReadOnly;
        _driver.Parameters[0] = parameters;
        foreach (DeviceGeometry geometry in new[] { s_geometry, s_readOnly }) Assert.Equal(new DevicePromise(Size, IsReadOnly: true), Compare(geometry));
    }

    private DevicePromise Compare(DeviceGeometry geometry, bool accepts = false) => _waiting.Compare(_found, [geometry], accepts);

    private void Refused(string why, params DeviceGeometry[] geometries)
    {
        ProgramException failure = Assert.Throws<ProgramException>(() => _waiting.Compare(_found, geometries, acceptsOtherDisks: false));
        Assert.Equal(ExitCode.Peer, failure.ExitCode);
        Assert.StartsWith("/dev/ublkb0 is not taken over: ", failure.Message, StringComparison.Ordinal);
        Assert.Contains(why, failure.Message, StringComparison.Ordinal);
    }

    private void IsRefused()
    {
        ProgramException failure = Assert.Throws<ProgramException>(() => _waiting.LookAgain(_found));
        Assert.Equal(ExitCode.Busy, failure.ExitCode);
        Assert.StartsWith("/dev/ublkb0 is not taken over: while its connection was waited for ", failure.Message, StringComparison.Ordinal);
    }

    private void Put(DeviceState state, uint connection, int pid = 100) => _driver.Put(0, state, pid, connection: connection);
}
