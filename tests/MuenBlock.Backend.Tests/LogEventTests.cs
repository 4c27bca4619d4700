using MuenBlock.Backend.Serving;
using MuenBlock.Protocol.Programs;
using MuenBlock.Tests.Shared;
using Xunit;

namespace MuenBlock.Backend.Tests;

public sealed class LogEventTests
{
    [Fact]
    public void An_event_id_belongs_to_one_line_of_the_program() => LogEvents.AssertHaveOneLineEach(typeof(Complaints).Assembly, typeof(LineBudget).Assembly);
}
