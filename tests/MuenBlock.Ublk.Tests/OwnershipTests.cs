using System.Text;
using CsCheck;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Tests;

public sealed class OwnershipTests
{
    [Fact]
    public void What_bears_our_mark_is_ours_and_tells_its_device() =>
        Gen.UShort.Sample(device =>
        {
            var info = new DeviceInfo { ServerFlags = Ownership.Mark(device) };
            return Ownership.IsOurs(info) && Ownership.DeviceIndex(info) == device;
        });

    [Fact]
    public void What_differs_in_one_bit_of_the_mark_is_not_ours() =>
        Gen.Select(Gen.UShort, Gen.Int[16, 63]).Sample((device, bit) =>
            !Ownership.IsOurs(new DeviceInfo { ServerFlags = Ownership.Mark(device) ^ (1ul << bit) }));

    [Fact]
    public void Other_servers_leave_the_flags_at_zero_and_are_not_taken_for_us() => Assert.False(Ownership.IsOurs(default));

    [Fact]
    public void The_mark_can_be_read_in_a_dump()
    {
        byte[] bytes = BitConverter.GetBytes(Ownership.Mark(0));
        Array.Reverse(bytes);
        Assert.Equal("MUENBK\0\0", Encoding.ASCII.GetString(bytes));
    }
}
