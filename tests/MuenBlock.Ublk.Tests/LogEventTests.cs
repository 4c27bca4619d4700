using System.Reflection;
using Microsoft.Extensions.Logging;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Queues;

namespace MuenBlock.Ublk.Tests;

public sealed class LogEventTests
{
    private const BindingFlags Declared = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Static | BindingFlags.Instance | BindingFlags.DeclaredOnly;

    [Fact]
    public void An_event_id_belongs_to_one_line_of_the_program()
    {
        Assembly[] program = [typeof(DeviceServer).Assembly, typeof(LineBudget).Assembly];
        int[] ids =
        [
            .. program.SelectMany(part => part.GetTypes())
                .SelectMany(type => type.GetMethods(Declared))
                .SelectMany(method => method.GetCustomAttributes<LoggerMessageAttribute>())
                .Select(line => line.EventId)
                .Order(),
        ];
        Assert.NotEmpty(ids);
        Assert.Equal(ids.Distinct(), ids);
    }
}
