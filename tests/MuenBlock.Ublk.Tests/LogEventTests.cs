using MuenBlock.Protocol.Programs;
using MuenBlock.Tests.Shared;
using MuenBlock.Ublk.Queues;

namespace MuenBlock.Ublk.Tests;

public sealed class LogEventTests
{
    [Fact]
    public void An_event_id_belongs_to_one_line_of_the_program() => LogEvents.AssertHaveOneLineEach(typeof(DeviceServer).Assembly, typeof(LineBudget).Assembly);
}
