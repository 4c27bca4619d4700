using MuenBlock.Tests.Shared;

namespace MuenBlock.IoUring.Tests;

/// <summary>
/// Every struct, every enum and every constant of Kernel is the kernel's: tests/abi/io_uring_abi.c prints what C makes of them, under
/// the C# names. A name that one side lacks is a fault, too.
/// </summary>
public sealed class AbiTests
{
    [Fact]
    public void Layouts_and_constants_are_those_of_the_kernel()
    {
        var abi = new KernelAbi();
        foreach (Type type in typeof(Ring).Assembly.GetTypes().Where(type => type.Namespace == typeof(Ring).Namespace && !type.IsNested && type.IsValueType)) abi.Add(type);
        abi.AddConstants(typeof(Kernel));
        abi.AssertIsThatOf("io_uring_abi.c");
    }
}
