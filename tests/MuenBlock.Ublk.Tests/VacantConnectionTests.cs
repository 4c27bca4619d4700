using MuenBlock.Protocol;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Tests;

/// <summary>No connection gets new block devices beside old ones that wait for a server, or are about to.</summary>
public sealed class VacantConnectionTests : IDisposable
{
    private const int Server = 100;
    private const string Folder = "/dev/shm";

    private static readonly ConnectionString s_connection = ConnectionString.Parse("1:a:b:c");
    private static readonly ConnectionString s_other = ConnectionString.Parse("2:d:e:f");
    private static readonly QueueConnections s_joined = new(s_connection, s_other);

    private readonly FakeDriver _driver = new();
    private readonly FakeMachine _machine;
    private readonly ControlPlane _control;

    public VacantConnectionTests()
    {
        _machine = new FakeMachine(_driver);
        _control = _driver.OpenPlane();
    }

    public void Dispose() => _control.Dispose();

    [Theory]
    [InlineData((ushort)DeviceState.Quiesced)]
    [InlineData((ushort)DeviceState.FailIo)]
    public void A_device_that_waits_is_named_at_once(ushort state)
    {
        Put(3, (DeviceState)state);
        Refused("/dev/ublkb3 of connection 1 waits for a server: take it over ('muenblock-ublk recover 3')");
        Assert.Equal(0, _machine.Milliseconds);
    }

    // The kernel gives back a dead server's lock some milliseconds before the driver has noticed the death.
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_device_that_is_about_to_wait_is_waited_for(bool processGoesOn)
    {
        if (processGoesOn) _machine.Alive.Add(Server);
        Put(3, DeviceState.Live);
        _machine.At(40, () => Put(3, DeviceState.Quiesced));
        Refused("/dev/ublkb3 of connection 1 waits for a server");
        Assert.InRange(_machine.Milliseconds, 40, 50);
    }

    [Fact]
    public void A_device_that_goes_with_its_server_is_waited_for()
    {
        Put(3, DeviceState.Live);
        Put(4, DeviceState.Live);
        _machine.At(40, () => _driver.Devices.Remove(3));
        _machine.At(80, () => Put(4, DeviceState.Dead));
        Check();
        Assert.InRange(_machine.Milliseconds, 80, 90);
    }

    [Fact]
    public void A_device_that_the_kernel_does_not_let_go_of_is_refused()
    {
        Put(3, DeviceState.Live);
        Refused("/dev/ublkb3 of connection 1 has lost its server, but the kernel has not let go of it after 10 s");
        Assert.InRange(_machine.Milliseconds, 10_000, 10_100);
    }

    // It is another container's, with regions of its own; or this one's, which has ended, and whose device is about to wait.
    [Fact]
    public void A_device_whose_server_cannot_be_seen_is_refused_and_the_way_out_is_other_names()
    {
        _machine.SeesAllProcesses = false;
        _driver.Put(3, DeviceState.Live, -1, connection: Ownership.Fingerprint(s_connection, Folder));
        Refused("/dev/ublkb3 of connection 1 is served by a process that cannot be seen from here, such as one in another PID namespace, with regions of the same names: give these ones other names");
        Assert.InRange(_machine.Milliseconds, 10_000, 10_100);
        _machine.At(10_100, () => _driver.Put(3, DeviceState.Quiesced, -1, connection: Ownership.Fingerprint(s_connection, Folder)));
        Refused("/dev/ublkb3 of connection 1 waits for a server");
    }

    // Who has the locks is its connection's only server. That of another container has files of its own.
    [Fact]
    public void A_device_with_a_server_elsewhere_uses_other_regions()
    {
        _machine.Alive.Add(Server);
        _machine.Servers.Add(3);
        _machine.Elsewhere.Add(Server);
        Put(3, DeviceState.Live);
        Check();
        Assert.Equal(0, _machine.Milliseconds);
    }

    // Its server waits for a backend that it can never have again, with writes that would land on the disk when it is taken over.
    [Fact]
    public void A_device_that_is_served_from_files_that_have_been_replaced_is_refused()
    {
        _machine.Alive.Add(Server);
        _machine.Servers.Add(3);
        Put(3, DeviceState.Live);
        Refused("/dev/ublkb3 of connection 1 is served by process 100 from files in /dev/shm that have been replaced since: take it over");

        // So is one that is joined of the connection and others.
        PutJoined(DeviceState.Live);
        _machine.Records[3] = DeviceRecordTests.Example(3, Server) with { Connection = s_joined.ToString() };
        Refused("/dev/ublkb3 of connection 1 is served by process 100 from files");
        Assert.Equal(0, _machine.Milliseconds);
    }

    // The lock is the request region's.
    [Fact]
    public void A_device_of_another_connection_that_has_a_buffer_in_common_is_not_in_the_way_while_it_has_its_server()
    {
        var beside = ConnectionString.Parse("2:d:e:c");
        _machine.Alive.Add(Server);
        _machine.Servers.Add(3);
        _driver.Put(3, DeviceState.Live, Server, connection: Ownership.Fingerprint(beside, Folder));
        _machine.Records[3] = DeviceRecordTests.Example(3, Server) with { Connection = beside.ToString(), RegionDirectory = Folder };
        Check();
    }

    // An earlier version marked devices with the directory as it was spelled.
    [Fact]
    public void A_device_that_was_added_by_another_spelling_of_the_directory_is_known_by_its_record()
    {
        using var files = new FakeSystem();
        string spelled = files.Root + "/link";
        Directory.CreateSymbolicLink(spelled, Folder);
        _driver.Put(3, DeviceState.Quiesced, Server, connection: Ownership.Fingerprint(s_connection, spelled));
        _machine.Records[3] = DeviceRecordTests.Example(3, Server) with { Connection = s_connection.ToString(), RegionDirectory = spelled };
        Refused("/dev/ublkb3 of connection 1 waits for a server");
    }

    [Fact]
    public void Whoever_asks_it_to_end_is_heard_meanwhile()
    {
        Put(3, DeviceState.Live);
        ProgramException failure = Assert.Throws<ProgramException>(() => Check(() => _machine.Milliseconds >= 100));
        Assert.Equal("asked to end while the last server of /dev/ublkb3 was waited for", failure.Message);
    }

    [Fact]
    public void Other_connections_and_other_programs_do_not_matter()
    {
        _driver.Put(0, DeviceState.Quiesced, connection: Ownership.Fingerprint(s_other, Folder));
        _driver.Put(1, DeviceState.Live, connection: Ownership.Fingerprint(s_connection, "/elsewhere"));
        _driver.Put(2, DeviceState.Quiesced, ours: false);
        Put(3, DeviceState.Dead);
        Check();
        Assert.Equal(0, _machine.Milliseconds);
    }

    [Fact]
    public void A_joined_device_with_the_connection_is_waited_for_as_well()
    {
        PutJoined(DeviceState.Live);
        _machine.Records[3] = DeviceRecordTests.Example(3, Server) with { Connection = s_joined.ToString() };
        _machine.At(40, () => PutJoined(DeviceState.Quiesced));
        Refused("/dev/ublkb3 of connection 1 waits for a server");
    }

    // Which connections it has is not known: it may be two others, which are served.
    [Fact]
    public void A_joined_device_whose_record_is_lost_matters_as_soon_as_its_server_has_ended()
    {
        _machine.Alive.Add(Server);
        _machine.Servers.Add(3);
        PutJoined(DeviceState.Live);
        Check();
        _machine.Servers.Clear();
        _machine.At(40, () => PutJoined(DeviceState.Quiesced));
        Refused("/dev/ublkb3, whose record is lost and which may use any 2 connections, perhaps connection 1 waits for a server");
    }

    private void Check(Func<bool>? giveUp = null) =>
        new VacantConnection(_control, _machine).Check(new QueueConnections(s_connection), Folder, giveUp ?? (static () => false));

    private void Refused(string said)
    {
        ProgramException failure = Assert.Throws<ProgramException>(() => Check());
        Assert.Equal(ExitCode.Busy, failure.ExitCode);
        Assert.StartsWith(said, failure.Message, StringComparison.Ordinal);
    }

    private void Put(int id, DeviceState state) => _driver.Put(id, state, Server, connection: Ownership.Fingerprint(s_connection, Folder));

    private void PutJoined(DeviceState state)
    {
        _driver.Put(3, state, Server, connection: Ownership.Fingerprint(s_joined, Folder));
        DeviceInfo info = _driver.Devices[3];
        info.HardwareQueues = 2;
        _driver.Devices[3] = info;
    }
}
