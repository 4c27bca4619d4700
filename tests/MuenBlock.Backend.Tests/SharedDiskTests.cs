using MuenBlock.Backend.Disks;
using MuenBlock.Backend.Exports;
using MuenBlock.Protocol.Messages;
using Xunit;

namespace MuenBlock.Backend.Tests;

/// <summary>One disk on two connections, each with a ring and a thread of its own.</summary>
public sealed class SharedDiskTests
{
    private const int ImageSize = 4 << 20;
    private const int Length = 65536;
    private const ulong Offset = 1 << 20;

    [Fact]
    public void What_is_written_discarded_and_synced_on_one_connection_is_so_on_the_other()
    {
        using var folder = new TestFolder("/var/tmp");
        string image = folder.Image("disk", ImageSize);
        using var server = new TestServer(folder.Path, [image], connections: 2);
        using var first = new TestClient(folder.Path, server.Names[0]);
        using var second = new TestClient(folder.Path, server.Names[1]);
        first.Connect();
        second.Connect();
        for (int turn = 0; turn < 4; turn++)
        {
            (TestClient writer, TestClient reader) = turn % 2 == 0 ? (first, second) : (second, first);
            new Random(turn).NextBytes(writer.Buffer[..Length]);
            Assert.Equal(0ul, writer.Ask(RequestKind.Write, 0, Length, Offset >> 9, 0));
            Assert.Equal(0ul, reader.Ask(RequestKind.Sync));
            Assert.Equal(0ul, reader.Ask(RequestKind.Read, 0, Length, Offset >> 9, 0));
            Assert.True(reader.Buffer[..Length].SequenceEqual(writer.Buffer[..Length]));
            Assert.True(TestFolder.Contents(image).AsSpan((int)Offset, Length).SequenceEqual(writer.Buffer[..Length]));
            Assert.Equal(0ul, writer.Ask(RequestKind.Discard, 0, Length, Offset >> 9));
            Assert.Equal(0ul, reader.Ask(RequestKind.Read, 0, Length, Offset >> 9, 0));
            Assert.Equal(-1, reader.Buffer[..Length].IndexOfAnyExcept((byte)0));
        }

        Assert.False(server.Failed);
    }

    [Fact]
    public void Both_connections_say_that_it_is_one_disk_and_another_disk_is_another()
    {
        using var folder = new TestFolder();
        string[] images = [folder.Image("disk", ImageSize), folder.Image("other", ImageSize)];
        using var server = new TestServer(folder.Path, images, connections: 2);
        var answers = new List<ulong>();
        foreach (Protocol.ConnectionString name in server.Names)
        {
            using var client = new TestClient(folder.Path, name);
            client.Connect();
            Assert.NotEqual(0ul, client.Ask(RequestKind.Features) & (ulong)PeerFeatures.Identity);
            for (ushort device = 0; device < images.Length; device++) answers.Add(client.Ask(RequestKind.Identity, device));
            Assert.Equal(0ul, client.Ask(RequestKind.Identity, 2));
        }

        Assert.Equal(answers[..2], answers[2..]);
        Assert.NotEqual(answers[0], answers[1]);
        Assert.DoesNotContain(0ul, answers);
    }

    [Fact]
    public void A_disk_is_opened_once_and_closed_after_all_its_connections()
    {
        var opened = new List<string>();
        using var folder = new TestFolder();
        string image = folder.Image("disk", ImageSize);
        var opener = new DiskOpener(readOnly: true, static () => false, Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance);
        DeviceString shared = DeviceString.Parse($"{image}:1+2");
        DeviceString again = DeviceString.Parse($"{image}:3");
        Disk disk;
        using (var disks = new ExportedDisks(path =>
        {
            opened.Add(path);
            return opener.Open(path);
        }))
        {
            disk = disks.Of(shared);
            Assert.Same(disk, disks.Of(shared));
            Assert.NotSame(disk, disks.Of(again));
            Assert.Equal([image, image], opened);
            Assert.False(disk.File.IsClosed);
        }

        Assert.True(disk.File.IsClosed);
    }
}
