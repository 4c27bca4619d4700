using MuenBlock.Protocol;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Cli;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Tests;

/// <summary>What is taken over, and what it belongs to, whatever became of the records.</summary>
public sealed class RecoveryPlanTests : IDisposable
{
    private const int Server = 100;
    private const string Folder = "/dev/shm";

    private static readonly ConnectionString s_connection = ConnectionString.Parse("1:a:b:c");
    private static readonly ConnectionString s_other = ConnectionString.Parse("2:d:e:f");
    private static readonly QueueConnections s_joined = new(s_connection, s_other);
    private static readonly uint s_print = Ownership.Fingerprint(s_connection, Folder);
    private static readonly uint s_otherPrint = Ownership.Fingerprint(s_other, Folder);

    private readonly FakeDriver _driver = new();
    private readonly Machine _machine;
    private readonly ControlPlane _control;
    private readonly RecoveryPlan _plan;
    private long _giveUp = long.MaxValue;

    public RecoveryPlanTests()
    {
        _machine = new Machine(_driver);
        _control = _driver.OpenPlane();
        _plan = new RecoveryPlan(_control, _machine, () => _machine.Milliseconds >= _giveUp);
        Put(0);
        _machine.Records[0] = DeviceRecordTests.Example(0, Server);
    }

    public void Dispose() => _control.Dispose();

    [Fact]
    public void A_waiting_devices_connection_is_in_its_record()
    {
        WaitingConnection found = _plan.Of(0, [], null);
        Assert.Equal(s_connection, Assert.Single(found.Connections.Members));
        Assert.Equal(Folder, found.RegionDirectory);
        Assert.Equal([0u], found.Devices.Select(info => info.DeviceId));
        Assert.Equal("--spin 50", found.Record?.Options);
        Assert.Equal(0, _machine.Milliseconds);
    }

    [Fact]
    public void All_devices_of_a_connection_are_found_in_the_order_of_their_ids_on_it_with_and_without_records()
    {
        Put(0, device: 2);
        Put(3, device: 0);
        Put(5, device: 1);
        Put(4, print: s_otherPrint);
        _machine.Records[5] = DeviceRecordTests.Example(5, Server);
        foreach (int named in new[] { 0, 5 }) Assert.Equal([3u, 5u, 0u], _plan.Of(named, [], null).Devices.Select(info => info.DeviceId));
    }

    [Fact]
    public void A_lost_record_is_said_and_the_connection_named_again_replaces_it()
    {
        _machine.Records.Clear();
        ProgramException failure = Assert.Throws<ProgramException>(() => _plan.Of(0, [], null));
        Assert.Equal(ExitCode.Resource, failure.ExitCode);
        Assert.Contains("'muenblock-ublk recover 0 --conn CONNECTION", failure.Message, StringComparison.Ordinal);
        Assert.Equal(s_connection, Assert.Single(_plan.Of(0, [s_other, s_connection], Folder).Connections.Members));
    }

    [Fact]
    public void A_lost_record_is_replaced_by_that_of_another_device_of_the_connection()
    {
        Put(1, device: 1);
        Put(2, print: s_otherPrint);
        Assert.Equal(s_connection, Assert.Single(_plan.Find(1, [], null).Connections.Members));
        Assert.Equal(ExitCode.Resource, Assert.Throws<ProgramException>(() => _plan.Find(2, [], null)).ExitCode);
    }

    [Theory]
    [InlineData("2:d:e:f")]
    [InlineData("1:a:b")]
    [InlineData("")]
    public void A_record_that_names_another_connection_than_the_kernel_knows_is_not_believed(string recorded)
    {
        _machine.Records[0] = DeviceRecordTests.Example(0, Server) with { Connection = recorded };
        Assert.Equal(ExitCode.Resource, Assert.Throws<ProgramException>(() => _plan.Of(0, [], null)).ExitCode);
        Assert.Equal(s_connection, Assert.Single(_plan.Of(0, [s_connection], null).Connections.Members));
    }

    [Fact]
    public void Another_connection_than_the_devices_own_is_refused()
    {
        _machine.Records.Clear();
        ProgramException failure = Assert.Throws<ProgramException>(() => _plan.Of(0, [s_other], Folder));
        Assert.Equal(ExitCode.Usage, failure.ExitCode);
        Assert.Contains("was added with another connection than 2:d:e:f in /dev/shm", failure.Message, StringComparison.Ordinal);
        Assert.Equal(ExitCode.Usage, Assert.Throws<ProgramException>(() => _plan.Of(0, [s_connection], "/dev/shm/elsewhere")).ExitCode);
    }

    [Fact]
    public void A_device_that_is_served_is_refused_after_a_glance()
    {
        Put(0, DeviceState.Live);
        _machine.Alive.Add(Server);
        ProgramException failure = Assert.Throws<ProgramException>(() => _plan.Of(0, [], null));
        Assert.Equal(ExitCode.Busy, failure.ExitCode);
        Assert.Equal("/dev/ublkb0 is served by process 100: there is nothing to recover", failure.Message);
        Assert.InRange(_machine.Milliseconds, 900, 1100);
        Assert.Empty(_plan.Candidates());
    }

    [Fact]
    public void A_device_whose_server_is_dying_is_waited_for_with_its_siblings()
    {
        Put(0, DeviceState.Live);
        Put(1, DeviceState.Live, device: 1);
        _machine.At(4000, () => Put(0));
        _machine.At(5000, () => Put(1, device: 1));
        Assert.Equal([0, 1], _plan.Candidates());
        Assert.Equal(2, _plan.Of(0, [], null).Devices.Count);
        Assert.InRange(_machine.Milliseconds, 5000, 5100);
    }

    [Fact]
    public void A_device_that_a_server_had_taken_over_which_died_before_its_siblings_were_is_taken_over_with_them()
    {
        const int second = 101;
        Put(1, DeviceState.Live, pid: second, device: 1);
        _machine.At(500, () => Put(1, pid: second, device: 1));
        Assert.Equal([0u, 1u], _plan.Of(0, [], null).Devices.Select(info => info.DeviceId));

        Put(1, DeviceState.Live, pid: second, device: 1);
        _machine.Alive.Add(second);
        Assert.Equal([0u], _plan.Of(0, [], null).Devices.Select(info => info.DeviceId));
    }

    [Fact]
    public void A_server_whose_death_the_driver_never_notices_is_said()
    {
        Put(0, DeviceState.Live, pid: -1);
        ProgramException failure = Assert.Throws<ProgramException>(() => _plan.Of(0, [], null));
        Assert.Equal(ExitCode.Kernel, failure.ExitCode);
        Assert.InRange(_machine.Milliseconds, 30_000, 30_100);
    }

    [Fact]
    public void What_was_stopped_or_is_not_there_or_is_another_programs_is_not_recovered()
    {
        Put(1, DeviceState.Dead);
        _driver.Put(2, DeviceState.Quiesced, ours: false);
        foreach (int id in new[] { 1, 2, 9 }) Assert.Equal(ExitCode.NotFound, Assert.Throws<ProgramException>(() => _plan.Of(id, [], null)).ExitCode);
        Assert.Equal([0], _plan.Candidates());
    }

    [Fact]
    public void Two_devices_that_stand_for_the_same_are_refused()
    {
        Put(7);
        Assert.Contains("/dev/ublkb0 and /dev/ublkb7 both are device 0 of connection 1:a:b:c", Assert.Throws<ProgramException>(() => _plan.Of(0, [], null)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_service_finds_what_waits_on_its_connection_or_nothing()
    {
        Assert.Equal([0u], _plan.Of(new QueueConnections(s_connection), Folder)!.Devices.Select(info => info.DeviceId));
        Assert.Null(_plan.Of(new QueueConnections(s_other), Folder));
        Assert.Null(_plan.Of(s_joined, Folder));
    }

    [Fact]
    public void A_joined_device_has_all_its_connections_in_its_record()
    {
        PutJoined(0);
        _machine.Records[0] = DeviceRecordTests.Example(0, Server) with { Connection = "1:a:b:c,2:d:e:f" };
        Assert.Equal(s_joined, _plan.Of(0, [], null).Connections);
        Assert.Equal(s_joined, _plan.Of(s_joined, Folder)!.Connections);
        Assert.Null(_plan.Of(new QueueConnections(s_connection), Folder));
    }

    [Fact]
    public void A_joined_device_without_a_record_needs_all_its_connections_in_any_order_beside_others()
    {
        PutJoined(0);
        _machine.Records.Clear();
        ConnectionString third = ConnectionString.Parse("3:g:h:i");
        Assert.Contains("it has 2 queues: name as many connections", Assert.Throws<ProgramException>(() => _plan.Of(0, [], null)).Message, StringComparison.Ordinal);
        foreach (ConnectionString[] wrong in new ConnectionString[][] { [s_connection], [s_connection, third], [s_connection, third, s_other], [s_other, s_other] })
            Assert.Equal(ExitCode.Usage, Assert.Throws<ProgramException>(() => _plan.Of(0, wrong, Folder)).ExitCode);
        Assert.Equal([s_connection, s_other], _plan.Of(0, [third, s_connection, s_other], Folder).Connections.Members);
        Assert.Equal([s_other, s_connection], _plan.Of(0, [s_other, s_connection], Folder).Connections.Members);
    }

    [Fact]
    public void A_connection_that_is_not_known_does_not_keep_the_others_from_being_found()
    {
        Put(1, device: 1);
        Put(2, print: s_otherPrint);
        Put(3, print: 99);
        _machine.Records[2] = DeviceRecordTests.Example(2, Server) with { Connection = s_other.ToString() };
        using var errors = new StringWriter();
        List<FoundConnection> found = RecoverCommand.Find([3, 0, 1, 2, 8], id => _plan.Find(id, [], null), errors, out ProgramException? last);
        Assert.Equal([0, 2], found.Select(connection => connection.Id));
        Assert.Contains("there is no /dev/ublkb8", last?.Message, StringComparison.Ordinal);
        Assert.StartsWith("muenblock-ublk: what /dev/ublkb3 belongs to is not known", errors.ToString(), StringComparison.Ordinal);
    }

    // Its next server waits for the end of the last one; those of other connections have no reason to.
    [Fact]
    public void A_server_that_does_not_end_holds_up_no_other_connection_and_is_waited_for_once()
    {
        Put(0, DeviceState.Live);
        Put(1, DeviceState.Live, device: 1);
        Put(2, print: s_otherPrint);
        _machine.Records[1] = DeviceRecordTests.Example(1, Server);
        _machine.Records[2] = DeviceRecordTests.Example(2, Server) with { Connection = s_other.ToString() };
        List<FoundConnection> found = RecoverCommand.Find(_plan.Candidates(), id => _plan.Find(id, [], null), TextWriter.Null, out ProgramException? last);
        Assert.Equal([0, 2], found.Select(connection => connection.Id));
        Assert.Null(last);
        Assert.Equal(0, _machine.Milliseconds);
    }

    [Fact]
    public void A_device_whose_server_cannot_be_seen_is_refused_after_a_glance_and_is_no_candidate()
    {
        _machine.SeesAllProcesses = false;
        Put(0, DeviceState.Live, pid: -1);
        Put(2, print: s_otherPrint);
        foreach (Func<object> look in new Func<object>[] { () => _plan.Of(0, [], null), () => _plan.Find(0, [], null) })
        {
            ProgramException failure = Assert.Throws<ProgramException>(look);
            Assert.Equal(ExitCode.Busy, failure.ExitCode);
            Assert.StartsWith("/dev/ublkb0 is served by a process that cannot be seen from here", failure.Message, StringComparison.Ordinal);
        }

        Assert.InRange(_machine.Milliseconds, 1_900, 2_200);
        Assert.Equal([2], _plan.Candidates());
        Assert.Null(_plan.Of(new QueueConnections(s_connection), Folder));
    }

    [Fact]
    public void A_server_that_has_just_ended_where_not_all_can_be_seen_is_told_from_one_that_cannot()
    {
        _machine.SeesAllProcesses = false;
        Put(0, DeviceState.Live, pid: -1);
        _machine.At(300, () => Put(0, pid: -1));
        Assert.Equal([0], _plan.Candidates());
        Assert.InRange(_machine.Milliseconds, 300, 310);

        // Another container's device of regions with the same names is none of its siblings.
        Put(1, DeviceState.Live, pid: -1, device: 1);
        Assert.Equal([0u], _plan.Of(new QueueConnections(s_connection), Folder)!.Devices.Select(info => info.DeviceId));
    }

    [Fact]
    public void Whoever_asks_it_to_end_is_heard_while_a_server_is_waited_for()
    {
        Put(0, DeviceState.Live);
        _giveUp = 100;
        ProgramException failure = Assert.Throws<ProgramException>(() => _plan.Of(new QueueConnections(s_connection), Folder));
        Assert.Equal(ExitCode.Busy, failure.ExitCode);
        Assert.Equal("asked to end while the last server of /dev/ublkb0 was waited for", failure.Message);
        Assert.InRange(_machine.Milliseconds, 100, 110);
    }

    private void Put(int id, DeviceState state = DeviceState.Quiesced, int pid = Server, byte device = 0, uint? print = null) =>
        _driver.Put(id, state, pid, device: device, connection: print ?? s_print);

    private void PutJoined(int id)
    {
        Put(id, print: Ownership.Fingerprint(s_joined, Folder));
        DeviceInfo info = _driver.Devices[id];
        info.HardwareQueues = 2;
        _driver.Devices[id] = info;
    }

    private sealed class Machine(FakeDriver driver) : IRecoveryMachine
    {
        private readonly List<(long Time, Action Happens)> _events = [];

        public long Milliseconds { get; private set; }

        public bool SeesAllProcesses { get; set; } = true;

        public HashSet<int> Alive { get; } = [];

        public Dictionary<int, DeviceRecord> Records { get; } = [];

        public void At(long time, Action happens) => _events.Add((time, happens));

        public void Sleep(int milliseconds)
        {
            Milliseconds += milliseconds;
            foreach ((_, Action happens) in _events.Where(e => e.Time <= Milliseconds)) happens();
            _events.RemoveAll(e => e.Time <= Milliseconds);
        }

        public IReadOnlyList<int> Ids() => [.. driver.Devices.Keys.Order()];

        public bool IsAlive(int pid) => Alive.Contains(pid);

        public bool IsEnding(int pid) => !Alive.Contains(pid);

        public DeviceRecord? TryLoadRecord(int id) => Records.GetValueOrDefault(id);
    }
}
