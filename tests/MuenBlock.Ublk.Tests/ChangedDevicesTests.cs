using MuenBlock.Protocol.Messages;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Tests;

/// <summary>A server that comes back with devices that are not as they were: what of them was promised to the kernel, and what was not.</summary>
public sealed class ChangedDevicesTests
{
    private const PeerFeatures Ours = PeerFeatures.Agrees | PeerFeatures.Traits | PeerFeatures.Identity | PeerFeatures.Watch;

    private const ulong ReadOnly = (ulong)(DeviceTraits.Known | DeviceTraits.ReadOnly);

    private readonly SessionWorld _world = new();

    [Fact]
    public void A_disk_that_comes_to_a_place_that_had_none_and_goes_again_does_not_matter_to_the_devices_beside_it()
    {
        GreetWithTwo(secondDisk: 0);
        _world.Session.Submit(4, RequestKind.Write, 0, 0, 4096);
        _ = _world.TakeSent();
        foreach (ulong disk in new ulong[] { 11, 13, 0, 15 })
        {
            GreetWithTwo(disk);
            Assert.Equal(SessionState.Ready, _world.Session.State);
            Assert.Single(_world.TakeSent(), static request => request.Kind == RequestKind.Write);
        }

        Assert.Empty(_world.Told);
        Assert.Empty(_world.Completed);
    }

    [Fact]
    public void A_device_of_which_there_is_no_block_device_may_change_and_go()
    {
        GreetWithTwo(secondDisk: 11);
        _world.Session.Skip(1);
        foreach (ulong disk in new ulong[] { 13, 0, 11 })
        {
            GreetWithTwo(disk);
            Assert.Equal(SessionState.Ready, _world.Session.State);
        }

        Assert.Empty(_world.Told);
    }

    [Fact]
    public void With_a_server_that_lets_nobody_write_any_more_IO_waits_for_one_that_does()
    {
        _world.Greet();
        _world.Session.Submit(4, RequestKind.Write, 0, 0, 4096);
        _ = _world.TakeSent();
        _world.Greet(RequestKind.Traits, ReadOnly);
        Assert.Equal(SessionState.Waiting, _world.Session.State);
        Assert.Equal("AccessStaysTheSame: device 0 is read-only, and was not", Assert.Single(_world.Told));
        _world.Session.Submit(5, RequestKind.Write, 0, 0, 4096);
        Assert.Empty(_world.Sent);
        Assert.Empty(_world.Completed);
        _world.Greet();
        Assert.Equal([4u, 5u], _world.Sent.Select(static request => request.Tag & 0xffff));
    }

    [Theory]
    [InlineData((ulong)DeviceTraits.None, ReadOnly)]
    [InlineData(ReadOnly, ReadOnly)]
    [InlineData(ReadOnly, (ulong)DeviceTraits.Known)]
    [InlineData((ulong)DeviceTraits.Known, (ulong)DeviceTraits.None)]
    [InlineData((ulong)DeviceTraits.Known, (ulong)(DeviceTraits.Known | DeviceTraits.Discard))]
    public void Whoever_could_not_write_before_or_cannot_tell_now_whether_that_is_allowed_goes_on(ulong before, ulong now)
    {
        _world.Greet(RequestKind.Traits, before);
        _world.Greet(RequestKind.Traits, now);
        Assert.Equal(SessionState.Ready, _world.Session.State);
        Assert.Empty(_world.Told);
    }

    [Fact]
    public void A_block_device_that_was_made_read_only_may_have_a_server_that_lets_nobody_write()
    {
        _world.Greet();
        _world.Session.Promise(0, new DevicePromise(SessionWorld.Blocks * 512, IsReadOnly: true));
        _world.Greet(RequestKind.Traits, ReadOnly);
        Assert.Equal(SessionState.Ready, _world.Session.State);
    }

    [Fact]
    public void That_a_disk_may_be_written_is_learnt_of_the_server_that_follows_a_plain_one()
    {
        _world.Greet(RequestKind.Features, 0);
        _world.Greet();
        _world.Greet(RequestKind.Features, 0);
        Assert.Equal(SessionState.Ready, _world.Session.State);
        _world.Greet(RequestKind.Traits, ReadOnly);
        Assert.Equal(SessionState.Waiting, _world.Session.State);
    }

    /// <summary>A server with two devices. The second may be a place without a disk, of which it says nothing (0).</summary>
    private void GreetWithTwo(ulong secondDisk)
    {
        _world.Session.ServerAppeared(0);
        while (_world.Session.State == SessionState.Greeting)
        {
            Request request = _world.Sent[0];
            _world.Sent.RemoveAt(0);
            _world.Answer(request, request switch
            {
                { Kind: RequestKind.Features } => (ulong)Ours,
                { Kind: RequestKind.MaxDevices } => 2,
                { Device: 1 } when secondDisk == 0 => 0,
                { Kind: RequestKind.Identity } => request.Device == 0 ? 21 : secondDisk,
                _ => SessionWorld.GoodAnswer(request.Kind),
            });
        }
    }
}
