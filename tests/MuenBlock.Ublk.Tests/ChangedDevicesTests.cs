using MuenBlock.Protocol.Messages;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Tests;

/// <summary>A server that comes back with devices that are not as they were: what of them was promised to the kernel, and what was not.</summary>
public sealed class ChangedDevicesTests
{
    private const PeerFeatures Ours = PeerFeatures.Agrees | PeerFeatures.Traits | PeerFeatures.Identity | PeerFeatures.Watch;

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
