using MuenBlock.Protocol.Programs;
using Xunit;

namespace MuenBlock.Protocol.Tests;

public sealed class OriginalSpellingTests
{
    [Theory]
    [InlineData("serve connections=1:a:b:c device=/dev/sda:1", "serve --conn 1:a:b:c --device /dev/sda:1")]
    [InlineData("serve connections=1:a:b:c,2:d:e:f devices=/dev/sda:1,/dev/sdb:2", "serve --conn 1:a:b:c,2:d:e:f --device /dev/sda:1,/dev/sdb:2")]
    [InlineData("add connections=1:a:b:c --id 3", "add --conn 1:a:b:c --id 3")]
    [InlineData("add --conn 1:a:b:c", "add --conn 1:a:b:c")]
    [InlineData("connection=1 xdevice=2", "connection=1 xdevice=2")]
    public void The_originals_parameters_are_taken_as_our_options(string original, string ours) =>
        Assert.Equal(ours.Split(' '), OriginalSpelling.Translate(original.Split(' ')));
}
