using System.Runtime.InteropServices;
using CsCheck;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Tests;

/// <summary>What is asked for reaches the driver bit by bit, and what it answers comes back so.</summary>
public sealed class ControlPlaneProperties
{
    private static readonly Gen<byte[]> s_info = Gen.Byte.Array[64];
    private static readonly Gen<byte[]> s_parameters = Gen.Byte.Array[152];

    [Fact]
    public void Any_device_information_survives_the_way_to_the_driver_and_back() =>
        Gen.Select(s_info, s_info).Sample((wanted, answer) =>
        {
            var driver = new FakeDriver();
            driver.Answer = sent => sent.Operation == UblkCommands.AddDevice ? Overwrite(sent, answer) : null;
            using ControlPlane control = driver.OpenPlane();
            DeviceInfo info = MemoryMarshal.Read<DeviceInfo>(wanted);
            DeviceInfo added = control.Add(info);
            SentCommand command = driver.Sent[^1];
            return command.Data.AsSpan().SequenceEqual(wanted)
                && command.Command.DeviceId == info.DeviceId
                && command.Command.Argument == 0
                && MemoryMarshal.AsBytes(new Span<DeviceInfo>(ref added)).SequenceEqual(answer);
        });

    [Fact]
    public void Any_parameters_but_their_length_survive_the_way_to_the_driver_and_back() =>
        Gen.Select(s_parameters, Gen.Int[0, UblkLimits.LargestId]).Sample((bytes, id) =>
        {
            var driver = new FakeDriver();
            driver.Put(id);
            using ControlPlane control = driver.OpenPlane();
            control.SetParameters(id, MemoryMarshal.Read<DeviceParameters>(bytes));
            BitConverter.TryWriteBytes(bytes, 152);
            DeviceParameters read = control.GetParameters(id);
            return MemoryMarshal.AsBytes(new Span<DeviceParameters>(ref read)).SequenceEqual(bytes);
        });

    [Fact]
    public void A_command_number_is_direction_size_type_and_number() =>
        Gen.OneOf(
            UblkCommands.AddDevice, UblkCommands.DeleteDevice, UblkCommands.GetFeatures, UblkCommands.GetParameters, UblkCommands.FetchRequest, UblkCommands.CommitBatch)
            .Sample(command => command >> 30 is 2 or 3 && ((command >> 16) & 0x3fff) is 16 or 32 && ((command >> 8) & 0xff) == 'u');

    private static unsafe int? Overwrite(SentCommand sent, byte[] answer)
    {
        answer.CopyTo(new Span<byte>((void*)sent.Command.Address, sent.Command.Length));
        return 0;
    }
}
