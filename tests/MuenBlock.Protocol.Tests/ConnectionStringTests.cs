using CsCheck;
using MuenBlock.Protocol.Programs;
using Xunit;

namespace MuenBlock.Protocol.Tests;

/// <summary>docs/wire-format.md, "Connection".</summary>
public sealed class ConnectionStringTests
{
    [Fact]
    public void Four_fields_are_a_connection_with_the_originals_protocols()
    {
        var connection = ConnectionString.Parse("1:blockdev_request1:blockdev_response1:muenblock");
        Assert.Equal(new ConnectionString(1, "blockdev_request1", "blockdev_response1", "muenblock", 0x9570208dca77db19, 0x9851be3282fef0dc), connection);
    }

    [Fact]
    public void Six_fields_name_the_protocols_in_hexadecimal()
    {
        var connection = ConnectionString.Parse("7:a:b:c:5155684453516f3d:5155684453516F3D");
        Assert.Equal(0x5155684453516f3dul, connection.RequestProtocol);
        Assert.Equal(0x5155684453516f3dul, connection.ResponseProtocol);
    }

    [Fact]
    public void Commas_separate_connections() =>
        Assert.Equal([1u, 2u], ConnectionString.ParseList("1:a:b:c,2:d:e:f").Select(connection => connection.Id));

    [Theory]
    [InlineData("", "fields")]
    [InlineData("1", "fields")]
    [InlineData("1:a:b", "fields")]
    [InlineData("1:a:b:c:1", "fields")]
    [InlineData("1:a:b:c:1:2:3", "fields")]
    [InlineData("x:a:b:c", "'x'")]
    [InlineData("-1:a:b:c", "'-1'")]
    [InlineData(" 1:a:b:c", "' 1'")]
    [InlineData("4294967296:a:b:c", "'4294967296'")]
    [InlineData("1::b:c", "''")]
    [InlineData("1:a/x:b:c", "'a/x'")]
    [InlineData("1:..:b:c", "'..'")]
    [InlineData("1:.:b:c", "'.'")]
    [InlineData("1:a:a:c", "different")]
    [InlineData("1:a:b:a", "different")]
    [InlineData("1:a:b:c:0:1", "'0'")]
    [InlineData("1:a:b:c:1:g", "'g'")]
    [InlineData("1:a:b:c:0x1:1", "'0x1'")]
    [InlineData("1:a:b:c:11112222333344445:1", "'11112222333344445'")]
    [InlineData("1:a:b:c,", "fields")]
    public void A_malformed_one_is_refused_with_what_is_wrong(string text, string part)
    {
        ProgramException failure = Assert.Throws<ProgramException>(() => ConnectionString.ParseList(text));
        Assert.Equal(ExitCode.Usage, failure.ExitCode);
        Assert.Contains(part, failure.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', failure.Message);
    }

    [Fact]
    public void What_is_printed_is_what_was_parsed()
    {
        Gen<string> name = Gen.String[Gen.Char.AlphaNumeric, 1, 20];
        Gen.Select(Gen.UInt, name, Gen.ULong, Gen.ULong).Where(t => t.Item3 != 0 && t.Item4 != 0).Sample((id, text, request, response) =>
        {
            var connection = new ConnectionString(id, text + "1", text + "2", text + "3", request, response);
            Assert.Equal(connection, ConnectionString.Parse(connection.ToString()));
        });
    }

    [Fact]
    public void No_text_does_anything_but_parse_or_be_refused() =>
        Gen.String[Gen.Char["0123456789abcdef:,/. "], 0, 40].Sample(
            text =>
            {
                try
                {
                    Assert.NotEmpty(ConnectionString.ParseList(text));
                }
                catch (ProgramException failure)
                {
                    Assert.Equal(ExitCode.Usage, failure.ExitCode);
                }
            },
            iter: 10_000);
}
