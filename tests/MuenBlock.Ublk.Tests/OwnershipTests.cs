using System.Text;
using CsCheck;
using MuenBlock.Protocol;
using MuenBlock.Protocol.Messages;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Tests;

public sealed class OwnershipTests
{
    private const uint MostFingerprint = (1u << 23) - 1;

    private static readonly Gen<(byte Device, OffsetUnit Unit, uint Connection)> s_marks =
        Gen.Select(Gen.Byte, Gen.OneOf(Gen.Const(OffsetUnit.Sectors), Gen.Const(OffsetUnit.Bytes)), Gen.UInt[0, MostFingerprint]);

    [Fact]
    public void What_bears_our_mark_is_ours_and_tells_its_device_its_unit_and_its_connection() =>
        s_marks.Sample(mark =>
        {
            var info = new DeviceInfo { ServerFlags = Ownership.Mark(mark.Device, mark.Unit, mark.Connection) };
            return Ownership.IsOurs(info) && (Ownership.DeviceIndex(info), Ownership.Unit(info), Ownership.Connection(info)) == mark;
        });

    [Fact]
    public void What_differs_in_one_bit_of_the_mark_is_not_ours() =>
        Gen.Select(s_marks, Gen.Int[32, 63]).Sample((mark, bit) =>
            !Ownership.IsOurs(new DeviceInfo { ServerFlags = Ownership.Mark(mark.Device, mark.Unit, mark.Connection) ^ (1ul << bit) }));

    [Fact]
    public void Another_region_or_another_place_is_another_connection()
    {
        uint known = Ownership.Fingerprint(ConnectionString.Parse("1:a:b:c"), "/dev/shm/x");
        Assert.Equal(known, Ownership.Fingerprint(ConnectionString.Parse("7:a:b:c:1:2"), "/dev/shm/x/"));
        foreach ((string connection, string directory) in new[] { ("1:a:b:d", "/dev/shm/x"), ("1:b:a:c", "/dev/shm/x"), ("1:a:b:c", "/dev/shm/y"), ("1:xa:b:c", "/dev/shm") })
            Assert.NotEqual(known, Ownership.Fingerprint(ConnectionString.Parse(connection), directory));
    }

    [Fact]
    public void Joined_connections_have_one_fingerprint_whatever_their_order_and_none_of_them_has_it_alone()
    {
        ConnectionString[] members = [.. ConnectionString.ParseList("1:a:b:c,2:d:e:f,3:g:h:i")];
        uint joined = Ownership.Fingerprint(new QueueConnections(members), "/dev/shm");
        Assert.Equal(joined, Ownership.Fingerprint(new QueueConnections(members[2], members[0], members[1]), "/dev/shm"));
        Assert.NotEqual(joined, Ownership.Fingerprint(new QueueConnections(members[0], members[1]), "/dev/shm"));
        Assert.NotEqual(joined, Ownership.Fingerprint(new QueueConnections(members), "/dev"));
        foreach (ConnectionString member in members) Assert.NotEqual(joined, Ownership.Fingerprint(member, "/dev/shm"));
    }

    [Fact]
    public void A_device_that_got_the_id_of_another_is_not_that_one()
    {
        const int server = 100;
        ulong mark = Ownership.Mark(1, OffsetUnit.Sectors, 7);
        var info = new DeviceInfo { ServerFlags = mark, ServerPid = server };
        foreach (DeviceState state in new[] { DeviceState.Dead, DeviceState.Live }) Assert.True(Ownership.IsStill(info with { State = state }, mark, server));
        Assert.True(Ownership.IsStill(info with { State = DeviceState.Dead, ServerPid = -1 }, mark, server)); // it was stopped
        Assert.False(Ownership.IsStill(info with { ServerPid = 101 }, mark, server));
        Assert.False(Ownership.IsStill(info with { ServerFlags = Ownership.Mark(1, OffsetUnit.Sectors, 8) }, mark, server));
    }

    // What is kept of a device for later (its record, its server's log) is kept as long as it is there, and no longer.
    [Fact]
    public void A_device_is_there_until_it_is_gone_or_its_id_is_anothers()
    {
        var driver = new FakeDriver();
        driver.Put(3, DeviceState.Dead, device: 1);
        ulong mark = driver.Devices[3].ServerFlags;
        using ControlPlane control = driver.OpenPlane();
        Assert.True(Ownership.IsStillThere(control, 3, mark));
        driver.Put(3, DeviceState.Live, pid: 4711, device: 1); // a successor has taken it over
        Assert.True(Ownership.IsStillThere(control, 3, mark));
        driver.Put(3, device: 1, connection: 5);
        Assert.False(Ownership.IsStillThere(control, 3, mark));
        driver.Put(3, ours: false);
        Assert.False(Ownership.IsStillThere(control, 3, mark));
        driver.Devices.Clear();
        Assert.False(Ownership.IsStillThere(control, 3, mark));
        driver.Answer = _ => -13; // EACCES: it cannot be told
        Assert.True(Ownership.IsStillThere(control, 3, mark));
    }

    // The kernel keeps it while programs are replaced: a later version must find the same.
    [Fact]
    public void The_fingerprint_does_not_depend_on_the_program() =>
        Assert.Equal(7707309u, Ownership.Fingerprint(ConnectionString.Parse("1:a:b:c"), "/dev/shm"));

    [Fact]
    public void Other_servers_leave_the_flags_at_zero_and_are_not_taken_for_us() => Assert.False(Ownership.IsOurs(default));

    [Fact]
    public void The_mark_can_be_read_in_a_dump()
    {
        byte[] bytes = BitConverter.GetBytes(Ownership.Mark(0, OffsetUnit.Sectors, 0));
        Array.Reverse(bytes);
        Assert.Equal("MUEN\0\0\0\0", Encoding.ASCII.GetString(bytes));
    }
}
