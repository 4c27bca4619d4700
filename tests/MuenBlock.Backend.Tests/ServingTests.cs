using Microsoft.Win32.SafeHandles;
using MuenBlock.Backend.Serving;
using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Regions;
using MuenBlock.Protocol.Signals;
using Xunit;

namespace MuenBlock.Backend.Tests;

/// <summary>The whole backend but its command line: rings, channels, image files on a real file system and in memory.</summary>
public sealed class ServingTests
{
    private const int ImageSize = 4 << 20;

    public static TheoryData<string, WaitMode> Ways => new()
    {
        { "/dev/shm", WaitMode.Auto }, { "/var/tmp", WaitMode.Auto }, { "/var/tmp", WaitMode.Poll },
    };

    [Theory]
    [MemberData(nameof(Ways))]
    public void What_is_written_is_read_back_and_is_on_the_disk(string root, WaitMode wait)
    {
        using var folder = new TestFolder(root);
        string image = folder.Image("disk", ImageSize);
        using (var server = new TestServer(folder.Path, [image], wait: wait))
        {
            using var client = new TestClient(folder.Path, server.Name);
            client.Connect();
            ulong block = client.Ask(RequestKind.BlockLength);
            Assert.Equal(ImageSize / block, client.Ask(RequestKind.MediaBlocks));

            new Random(1).NextBytes(client.Buffer[..65536]);
            Assert.Equal(0ul, client.Ask(RequestKind.Write, 0, 65536, 1 << 20 >> 9, 0));
            Assert.Equal(0ul, client.Ask(RequestKind.Sync));
            Assert.Equal(0ul, client.Ask(RequestKind.Read, 0, 65536, 1 << 20 >> 9, 1 << 20));
            Assert.True(client.Buffer[..65536].SequenceEqual(client.Buffer.Slice(1 << 20, 65536)));
            Assert.True(TestFolder.Contents(image).AsSpan(1 << 20, 65536).SequenceEqual(client.Buffer[..65536]));
        }
    }

    [Fact]
    public void Offsets_count_sectors_of_512_bytes_unless_told_to_count_bytes()
    {
        foreach (OffsetUnit unit in Enum.GetValues<OffsetUnit>())
        {
            using var folder = new TestFolder();
            string image = folder.Image("disk", ImageSize);
            using var server = new TestServer(folder.Path, [image], unit: unit);
            using var client = new TestClient(folder.Path, server.Name);
            client.Connect();
            ulong offset = unit == OffsetUnit.Sectors ? 8u : 4096u;
            Assert.Equal(0ul, client.Ask(RequestKind.Read, 0, 4096, offset, 0));
            Assert.True(TestFolder.Contents(image).AsSpan(4096, 4096).SequenceEqual(client.Buffer[..4096]));
        }
    }

    [Fact]
    public void A_thousand_requests_in_flight_are_all_answered()
    {
        using var folder = new TestFolder();
        string image = folder.Image("disk", ImageSize);
        using var server = new TestServer(folder.Path, [image]);
        using var client = new TestClient(folder.Path, server.Name);
        client.Connect();
        const int count = 1000;
        var tags = new HashSet<uint>();
        for (int i = 0; i < count; i++) tags.Add(client.Send(RequestKind.Read, 0, 4096, (ulong)(i * 8), (ulong)(i * 4096)));
        client.Publish();
        foreach (Response response in client.Await(count))
        {
            Assert.Equal(0ul, response.Status);
            Assert.True(tags.Remove(response.Tag));
        }

        Assert.True(TestFolder.Contents(image).AsSpan(0, count * 4096).SequenceEqual(client.Buffer[..(count * 4096)]));
    }

    [Fact]
    public void Devices_of_a_connection_are_told_apart()
    {
        using var folder = new TestFolder();
        string[] images = [folder.Image("first", ImageSize), folder.Image("second", ImageSize / 2)];
        using var server = new TestServer(folder.Path, images);
        using var client = new TestClient(folder.Path, server.Name);
        client.Connect();
        Assert.Equal(2ul, client.Ask(RequestKind.MaxDevices));
        for (ushort device = 0; device < 2; device++)
        {
            Assert.Equal(0ul, client.Ask(RequestKind.Read, device, 4096, 0, (ulong)device * 4096));
            Assert.True(TestFolder.Contents(images[device]).AsSpan(0, 4096).SequenceEqual(client.Buffer.Slice(device * 4096, 4096)));
        }
    }

    [Fact]
    public void A_device_that_is_not_there_is_unknown_to_questions_and_unsupported_for_IO()
    {
        using var folder = new TestFolder();
        using var server = new TestServer(folder.Path, [folder.Image("disk", ImageSize)]);
        using var client = new TestClient(folder.Path, server.Name);
        client.Connect();
        foreach (RequestKind kind in (RequestKind[])[RequestKind.Read, RequestKind.Write, RequestKind.Discard, RequestKind.Sync, RequestKind.Reset])
            Assert.Equal((ulong)Status.NotSupported, client.Ask(kind, 1, 4096));
        foreach (RequestKind kind in (RequestKind[])[RequestKind.MediaBlocks, RequestKind.BlockLength, RequestKind.MaxBlocksCount])
            Assert.Equal(0ul, client.Ask(kind, 1));
    }

    [Fact]
    public void A_discarded_range_of_an_image_reads_as_zeroes()
    {
        using var folder = new TestFolder();
        using var server = new TestServer(folder.Path, [folder.Image("disk", ImageSize)]);
        using var client = new TestClient(folder.Path, server.Name);
        client.Connect();
        Assert.Equal(0ul, client.Ask(RequestKind.Discard, 0, 65536, 0));
        client.Buffer.Fill(0xff);
        Assert.Equal(0ul, client.Ask(RequestKind.Read, 0, 65536, 0, 0));
        Assert.False(client.Buffer[..65536].ContainsAnyExcept((byte)0));
    }

    [Fact]
    public void A_read_only_export_refuses_writes_and_discards_and_says_so()
    {
        using var folder = new TestFolder();
        string image = folder.Image("disk", ImageSize);
        byte[] before = TestFolder.Contents(image);
        using (var server = new TestServer(folder.Path, [image], readOnly: true))
        {
            using var client = new TestClient(folder.Path, server.Name);
            client.Connect();
            Assert.Equal((ulong)Status.IoError, client.Ask(RequestKind.Write, 0, 4096));
            Assert.Equal((ulong)Status.IoError, client.Ask(RequestKind.Discard, 0, 4096));
            Assert.Equal(0ul, client.Ask(RequestKind.Read, 0, 4096));
            var traits = (DeviceTraits)client.Ask(RequestKind.Traits);
            Assert.True(traits.HasFlag(DeviceTraits.ReadOnly));
            Assert.False(traits.HasFlag(DeviceTraits.Discard));
        }

        Assert.Equal(before, TestFolder.Contents(image));
    }

    [Fact]
    public void Nothing_is_executed_before_a_Reset()
    {
        using var folder = new TestFolder();
        string image = folder.Image("disk", ImageSize);
        byte[] before = TestFolder.Contents(image);
        using (var server = new TestServer(folder.Path, [image]))
        {
            using var client = new TestClient(folder.Path, server.Name);
            client.Writer.Initialise(Epoch.New());
            client.Send(RequestKind.Write, 0, 4096);
            client.Publish();
            client.Connect();
        }

        Assert.Equal(before, TestFolder.Contents(image));
    }

    [Fact]
    public void Requests_left_over_from_an_earlier_server_are_not_executed()
    {
        using var folder = new TestFolder();
        string image = folder.Image("disk", ImageSize);
        byte[] before = TestFolder.Contents(image);
        new TestServer(folder.Path, [image]).Dispose();
        using var client = new TestClient(folder.Path, Protocol.ConnectionString.Parse("1:request:response:buffer"));
        client.Writer.Initialise(Epoch.New());
        client.Send(RequestKind.Reset);
        client.Send(RequestKind.Write, 0, 4096);
        client.Publish();
        using (var server = new TestServer(folder.Path, [image])) client.Connect();
        Assert.Equal(before, TestFolder.Contents(image));
    }

    [Fact]
    public void A_second_client_can_use_the_server_after_the_first()
    {
        using var folder = new TestFolder();
        using var server = new TestServer(folder.Path, [folder.Image("disk", ImageSize)]);
        for (int i = 0; i < 3; i++)
        {
            using var client = new TestClient(folder.Path, server.Name);
            client.Connect();
            Assert.Equal(0ul, client.Ask(RequestKind.Read, 0, 4096));
        }
    }

    [Fact]
    public void A_client_that_overruns_the_channel_is_given_a_new_epoch_and_can_begin_again()
    {
        using var folder = new TestFolder();
        using var server = new TestServer(folder.Path, [folder.Image("disk", ImageSize)]);
        using var client = new TestClient(folder.Path, server.Name);
        client.Connect();
        for (int i = 0; i < 5000; i++) client.Send(RequestKind.Read, 0, 4096, 0, 0);
        client.Publish();
        long end = Environment.TickCount64 + 20_000;
        while (client.Look() != ReadStatus.NewEpoch) Assert.True(Environment.TickCount64 < end, "the server kept its epoch");
        client.Connect();
        Assert.Equal(0ul, client.Ask(RequestKind.Read, 0, 4096));
        Assert.False(server.Failed);
    }

    [Fact]
    public void A_connection_that_fails_is_inactive_for_its_client_and_is_told_of_in_one_line()
    {
        using var folder = new TestFolder();
        const int clientBegan = 12;
        var log = new TestLog(fatal: clientBegan);
        using var server = new TestServer(folder.Path, [folder.Image("disk", ImageSize)], log: log);
        using var client = new TestClient(folder.Path, server.Name);
        client.Writer.Initialise(Epoch.New());
        Assert.True(SpinWait.SpinUntil(() => server.Failed, TimeSpan.FromSeconds(30)));
        Assert.Equal(ReadStatus.Inactive, client.Look());
        string line = Assert.Single(log.Lines, line => line.Contains("ended by a failure", StringComparison.Ordinal));
        Assert.Contains("a test's fault", line, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', line);
    }

    [Fact]
    public void A_disk_that_has_vanished_is_told_of_once_and_keeps_its_size_for_clients()
    {
        using var folder = new TestFolder();
        string image = folder.Image("disk", ImageSize);
        var log = new TestLog();
        using var server = new TestServer(folder.Path, [image], log: log);
        using (SafeFileHandle? file = PosixFile.TryOpen(image, 2, out _)) RandomAccess.SetLength(file!, 0); // O_RDWR
        for (int i = 0; i < 3; i++) server.LookAtDisks();
        Assert.Single(log.Lines, line => line.Contains($"device 0, {image}, has vanished", StringComparison.Ordinal));
        using var client = new TestClient(folder.Path, server.Name);
        client.Connect();
        Assert.Equal((ulong)ImageSize, client.Ask(RequestKind.MediaBlocks) * client.Ask(RequestKind.BlockLength));
    }

    [Fact]
    public void A_buffer_that_was_cut_off_is_said_to_be_lost_and_not_to_be_of_the_wrong_kind()
    {
        using var folder = new TestFolder();
        var log = new TestLog();
        using var server = new TestServer(folder.Path, [folder.Image("disk", ImageSize)], log: log);
        using (var buffer = new FileStream($"{folder.Path}/{server.Name.Buffer}", FileMode.Open, FileAccess.Write, FileShare.ReadWrite)) buffer.SetLength(0);
        Assert.True(SpinWait.SpinUntil(() => log.Lines.Any(line => line.Contains("was truncated", StringComparison.Ordinal)), TimeSpan.FromSeconds(30)));
        Assert.DoesNotContain(log.Lines, line => line.Contains("cannot be registered", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(14, 1ul << 20, "/dev/shm")] // EFAULT
    [InlineData(95, 1ul << 20, "/dev/shm")] // EOPNOTSUPP
    [InlineData(14, 2ul << 30, "1073741824 bytes")]
    [InlineData(12, 1ul << 20, "LimitMEMLOCK")] // ENOMEM
    [InlineData(22, 1ul << 20, "too old")] // EINVAL
    public void What_keeps_memory_from_being_registered_has_a_remedy(int errno, ulong length, string word) =>
        Assert.Contains(word, ConnectionThread.RegistrationRemedy(errno, (nuint)length), StringComparison.Ordinal);

    [Fact]
    public void A_server_that_is_stopped_becomes_inactive()
    {
        using var folder = new TestFolder();
        string image = folder.Image("disk", ImageSize);
        var server = new TestServer(folder.Path, [image]);
        using var client = new TestClient(folder.Path, server.Name);
        client.Connect();
        server.Dispose();
        Assert.Equal(ReadStatus.Inactive, client.Look());
    }

    [Fact]
    public void The_last_answers_can_be_read_until_the_client_sleeps_again()
    {
        const int count = 100;
        using var folder = new TestFolder();
        using var server = new TestServer(folder.Path, [folder.Image("disk", ImageSize)], hearing: 60_000);
        using var client = new TestClient(folder.Path, server.Name);
        client.Connect();
        ulong before = client.Published;
        client.AnnounceSleep(1);
        for (int i = 0; i < count; i++) client.Send(RequestKind.Read, 0, 4096, 0, 0);
        client.Publish();
        Assert.True(SpinWait.SpinUntil(() => client.Published == before + count, TimeSpan.FromSeconds(30)));
        server.Stop();
        Assert.False(SpinWait.SpinUntil(() => server.HasEnded, TimeSpan.FromMilliseconds(300)), "the server ended before the client had read its answers");
        Assert.Equal(count, client.Await(count).Count);
        long asleep = Environment.TickCount64;
        client.AnnounceSleep(2);
        Assert.True(SpinWait.SpinUntil(() => server.HasEnded, TimeSpan.FromSeconds(30)), "the server waited for a client that sleeps");
        Assert.True(Environment.TickCount64 - asleep > 50, "the server took a client that lost its CPU before its last look for one that sleeps");
        Assert.Equal(ReadStatus.Inactive, client.Look());
    }

    [Fact]
    public void The_last_answers_can_be_read_for_as_long_whatever_came_before_them_in_their_turn()
    {
        const int hearing = 300;
        const int failed = 41;
        using var folder = new TestFolder();
        string image = folder.Image("disk", ImageSize);
        using var fails = new ManualResetEventSlim();
        using var goesOn = new ManualResetEventSlim();
        var log = new TestLog(logged: number =>
        {
            if (number != failed) return;
            fails.Set();
            goesOn.Wait();
        });
        using var server = new TestServer(folder.Path, [image], log: log, hearing: hearing);
        using var client = new TestClient(folder.Path, server.Name);
        client.Connect();
        using (SafeFileHandle? file = PosixFile.TryOpen(image, 2, out _)) RandomAccess.SetLength(file!, 0); // O_RDWR
        client.Send(RequestKind.Read, 0, 4096, 0, 0);
        client.Publish();
        Assert.True(SpinWait.SpinUntil(() => fails.IsSet, TimeSpan.FromSeconds(30)));
        server.Stop();
        Thread.Sleep(2 * hearing);
        long answered = Environment.TickCount64;
        goesOn.Set();
        Assert.True(SpinWait.SpinUntil(() => server.HasEnded, TimeSpan.FromSeconds(30)));
        Assert.True(Environment.TickCount64 - answered >= hearing, "the time to read the last answer had passed before it was there");
    }

    [Fact]
    public void The_end_does_not_wait_for_a_client_that_is_gone()
    {
        using var folder = new TestFolder();
        using var server = new TestServer(folder.Path, [folder.Image("disk", ImageSize)], hearing: 60_000);
        using (var client = new TestClient(folder.Path, server.Name)) client.Connect();
        server.Stop();
        Assert.True(SpinWait.SpinUntil(() => server.HasEnded, TimeSpan.FromSeconds(30)));
    }
}
