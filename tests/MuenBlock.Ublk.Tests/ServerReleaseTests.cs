using MuenBlock.Protocol;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Tests;

/// <summary>How a server is taken its devices, so that another program can serve them.</summary>
public sealed class ServerReleaseTests : IDisposable
{
    private const int Server = 100;
    private const UblkFeatures Flags = ControlPlane.Recoverable | UblkFeatures.Quiesce;

    private static readonly uint s_print = Ownership.Fingerprint(ConnectionString.Parse("1:a:b:c"), "/dev/shm");
    private static readonly uint s_otherPrint = Ownership.Fingerprint(ConnectionString.Parse("2:d:e:f"), "/dev/shm");

    private readonly FakeDriver _driver = new();
    private readonly FakeMachine _machine;
    private readonly ControlPlane _control;
    private readonly ServerRelease _release;

    public ServerReleaseTests()
    {
        _machine = new FakeMachine(_driver);
        _control = _driver.OpenPlane();
        _release = new ServerRelease(_control, _machine);
        _driver.Put(0, pid: Server, connection: s_print, flags: Flags);
        _driver.Put(1, pid: Server, device: 1, connection: s_print, flags: Flags);
        _driver.Put(2, pid: Server, connection: s_otherPrint, flags: Flags);
        _driver.Put(3, pid: 555, connection: 7, flags: Flags);
        _machine.Alive.Add(Server);
        _machine.Servers.UnionWith([0, 1, 2]);
        _machine.Records[0] = DeviceRecordTests.Example(0, Server, "/log");
        _machine.Records[2] = DeviceRecordTests.Example(2, Server, "/log") with { Connection = "2:d:e:f" };
    }

    public void Dispose() => _control.Dispose();

    [Fact]
    public void All_devices_of_the_server_are_quiesced_and_it_ends_by_itself()
    {
        _machine.At(300, () => _machine.Alive.Clear());
        Assert.Equal([0, 2], Release(1).Select(connection => connection.Id));
        Assert.Equal([0, 1, 2], Sent(UblkCommands.QuiesceDevice));
        Assert.Empty(_machine.Killed);
        Assert.InRange(_machine.Milliseconds, 300, 310);
    }

    [Fact]
    public void A_server_that_cannot_be_seen_is_left_alone()
    {
        _machine.SeesAllProcesses = false;
        _driver.Put(0, pid: -1, connection: s_print, flags: Flags);
        ProgramException failure = Assert.Throws<ProgramException>(() => Release(0));
        Assert.Equal(ExitCode.Busy, failure.ExitCode);
        Assert.StartsWith("/dev/ublkb0 is served by a process that cannot be seen from here", failure.Message, StringComparison.Ordinal);
        Assert.Empty(Sent(UblkCommands.QuiesceDevice));
    }

    [Theory]
    [InlineData(true, false)]
    [InlineData(false, true)]
    public void A_server_that_cannot_be_quiesced_is_killed(bool unable, bool busy)
    {
        if (unable) _driver.Put(1, pid: Server, device: 1, connection: s_print, flags: ControlPlane.Recoverable);
        if (busy) _driver.Answer = sent => sent.Operation == UblkCommands.QuiesceDevice ? -16 : null;
        Assert.Equal(2, Release(0).Count);
        Assert.Equal([Server], _machine.Killed);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void A_device_that_is_deleted_meanwhile_does_not_keep_the_others_from_having_a_server(int deleted)
    {
        _driver.Answer = sent =>
        {
            if (sent.Operation == UblkCommands.QuiesceDevice) _driver.Devices.Remove(deleted);
            return null;
        };
        Assert.Equal(deleted == 2 ? [0] : [0, 2], Release(0).Select(connection => connection.Id));
        Assert.Equal([0, 1, 2], Sent(UblkCommands.QuiesceDevice));
        Assert.Equal([Server], _machine.Killed);
    }

    [Fact]
    public void A_connections_next_server_is_started_for_a_device_that_is_still_there()
    {
        _driver.Answer = sent =>
        {
            if (sent.Operation == UblkCommands.QuiesceDevice) _driver.Devices.Remove(0);
            return null;
        };
        Assert.Equal([1, 2], Release(1).Select(connection => connection.Id));
    }

    // Its server has gone already: whatever the driver says of it then, somebody has to serve it and the others.
    [Fact]
    public void A_device_of_which_the_driver_says_nothing_is_given_a_server_as_well()
    {
        bool released = false;
        _driver.Answer = sent =>
        {
            released |= sent.Operation == UblkCommands.QuiesceDevice;
            return released && sent.Operation == UblkCommands.GetDeviceInfo && sent.Command.DeviceId == 0 ? -110 : null;
        };
        Assert.Equal([0, 2], Release(1).Select(connection => connection.Id));
    }

    [Fact]
    public void A_server_that_does_not_end_what_it_has_is_killed()
    {
        Release(0);
        Assert.Equal([Server], _machine.Killed);
        Assert.InRange(_machine.Milliseconds, 5000, 5010);
    }

    [Fact]
    public void A_server_that_cannot_be_killed_is_said()
    {
        _machine.Mortal = false;
        ProgramException failure = Assert.Throws<ProgramException>(() => Release(0));
        Assert.Equal(ExitCode.Kernel, failure.ExitCode);
        Assert.Contains("process 100 was killed, but has not ended after 30 s", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_could_not_be_found_again_is_not_let_go()
    {
        _machine.Records.Clear();
        Assert.Equal(ExitCode.Resource, Assert.Throws<ProgramException>(() => Release(0)).ExitCode);
        NothingWasChanged();
    }

    [Fact]
    public void A_server_whose_successor_would_not_start_stays()
    {
        var refusal = new ProgramException(ExitCode.Usage, "no");
        ProgramException thrown = Assert.Throws<ProgramException>(() => _release.Release(0, connection =>
        {
            if (connection.Devices[0].DeviceId == 2) throw refusal;
        }));
        Assert.Same(refusal, thrown);
        NothingWasChanged();
    }

    [Fact]
    public void A_server_in_the_foreground_is_its_service_managers()
    {
        _machine.Records[0] = DeviceRecordTests.Example(0, Server, log: null);
        Assert.Contains("with 'add --recover'", Assert.Throws<ProgramException>(() => Release(0)).Message, StringComparison.Ordinal);
        NothingWasChanged();
    }

    [Fact]
    public void A_device_without_a_server_or_without_recovery_or_of_another_program_is_refused()
    {
        _driver.Put(5, pid: Server);
        _driver.Put(6, DeviceState.Quiesced, flags: Flags);
        _driver.Put(7, ours: false);
        foreach ((int id, ExitCode code) in new[] { (5, ExitCode.Environment), (6, ExitCode.NotFound), (7, ExitCode.NotFound), (8, ExitCode.NotFound) })
            Assert.Equal(code, Assert.Throws<ProgramException>(() => Release(id)).ExitCode);
        NothingWasChanged();
    }

    private IReadOnlyList<(int Id, WaitingConnection Connection)> Release(int id) => _release.Release(id, static _ => { });

    private IEnumerable<int> Sent(uint operation) => _driver.Sent.Where(sent => sent.Operation == operation).Select(sent => (int)sent.Command.DeviceId);

    private void NothingWasChanged()
    {
        Assert.Empty(Sent(UblkCommands.QuiesceDevice));
        Assert.Empty(_machine.Killed);
    }
}
