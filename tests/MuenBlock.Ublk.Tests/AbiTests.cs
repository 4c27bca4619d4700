using MuenBlock.Tests.Shared;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Tests;

/// <summary>
/// Every struct, enum and constant of the driver's interface is the kernel's: tests/abi/ublk_abi.c prints what C makes of them, under
/// the C# names. A name that one side lacks is a fault, too.
/// </summary>
public sealed class AbiTests
{
    // Types beside the structures that are not the kernel's.
    private static readonly Type[] s_ownTypes = [typeof(CommandEnd)];

    [Fact]
    public void Layouts_and_constants_are_those_of_the_kernel()
    {
        var abi = new KernelAbi();
        Type[] types = [.. typeof(ControlCommand).Assembly.GetTypes().Where(type => type.Namespace == typeof(ControlCommand).Namespace && !type.IsNested)];
        foreach (Type type in types.Except(s_ownTypes).Where(type => type.IsEnum || type.IsExplicitLayout)) abi.Add(type);
        abi.AddConstants(typeof(UblkCommands));

        // A constant of the driver's source, which its header does not give.
        abi.AddConstants(typeof(UblkLimits), nameof(UblkLimits.LargestId));
        abi.AssertIsThatOf("ublk_abi.c");
    }
}
