using MuenBlock.Protocol.Messages;
using Xunit;

namespace MuenBlock.Backend.Tests;

/// <summary>A backend that is told that the buffer's pages cannot be pinned.</summary>
public sealed class BounceTests
{
    private const int ImageSize = 4 << 20;
    private const int Block = 4096;
    private const byte Untouched = 0xa5;

    [Fact]
    public void Without_pinned_pages_a_read_fills_its_range_of_the_buffer_and_no_other_byte()
    {
        using var folder = new TestFolder();
        string image = folder.Image("disk", ImageSize);
        byte[] content = TestFolder.Contents(image);
        using var server = new TestServer(folder.Path, [image], canBePinned: false);
        using var client = new TestClient(folder.Path, server.Name);
        client.Connect();
        var random = new Random(1);
        for (int i = 0; i < 100; i++)
        {
            (int offset, int place, int length) = Range(random, client.Buffer.Length);
            client.Buffer.Fill(Untouched);
            Assert.Equal(0ul, client.Ask(RequestKind.Read, 0, (ulong)length, (ulong)offset >> 9, (ulong)place));
            Assert.True(client.Buffer.Slice(place, length).SequenceEqual(content.AsSpan(offset, length)));
            Assert.False(client.Buffer[..place].ContainsAnyExcept(Untouched));
            Assert.False(client.Buffer[(place + length)..].ContainsAnyExcept(Untouched));
        }
    }

    [Fact]
    public void Without_pinned_pages_a_write_takes_its_range_of_the_buffer_to_the_disk()
    {
        using var folder = new TestFolder();
        string image = folder.Image("disk", ImageSize);
        byte[] content = TestFolder.Contents(image);
        using var server = new TestServer(folder.Path, [image], canBePinned: false);
        using var client = new TestClient(folder.Path, server.Name);
        client.Connect();
        var random = new Random(2);
        for (int i = 0; i < 100; i++)
        {
            (int offset, int place, int length) = Range(random, client.Buffer.Length);
            random.NextBytes(client.Buffer.Slice(place, length));
            byte[] written = client.Buffer.Slice(place, length).ToArray();
            Assert.Equal(0ul, client.Ask(RequestKind.Write, 0, (ulong)length, (ulong)offset >> 9, (ulong)place));
            written.CopyTo(content, offset);
            Assert.Equal(written, client.Buffer.Slice(place, length).ToArray());
        }

        Assert.Equal(content, TestFolder.Contents(image));
    }

    [Fact]
    public void Without_pinned_pages_a_thousand_requests_in_flight_have_each_their_own_data()
    {
        const int Count = 1000;
        using var folder = new TestFolder();
        string image = folder.Image("disk", ImageSize);
        byte[] content = TestFolder.Contents(image);
        using var server = new TestServer(folder.Path, [image], canBePinned: false);
        using var client = new TestClient(folder.Path, server.Name);
        client.Connect();
        for (int i = 0; i < Count; i++) _ = client.Send(RequestKind.Read, 0, Block, (ulong)(Count - 1 - i) * (Block / 512), (ulong)i * Block);
        client.Publish();
        List<Response> answers = client.Await(Count);
        Assert.All(answers, answer => Assert.Equal(0ul, answer.Status));
        for (int i = 0; i < Count; i++)
            Assert.True(client.Buffer.Slice(i * Block, Block).SequenceEqual(content.AsSpan((Count - 1 - i) * Block, Block)), $"request {i}");
    }

    // A range of the disk and as much of the buffer, of whole blocks, and often touching an end.
    private static (int Offset, int Place, int Length) Range(Random random, int bufferLength)
    {
        int length = random.Next(4) == 0 ? Block : random.Next(1, (1 << 20) / Block) * Block;
        int offset = random.Next(4) == 0 ? ImageSize - length : random.Next(0, ((ImageSize - length) / Block) + 1) * Block;
        int place = random.Next(4) == 0 ? bufferLength - length : random.Next(0, ((bufferLength - length) / Block) + 1) * Block;
        return (offset, place, length);
    }
}
