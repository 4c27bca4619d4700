using Microsoft.Win32.SafeHandles;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Regions;
using Xunit;
using static Tmds.Linux.LibC;

namespace MuenBlock.Backend.Tests;

/// <summary>The original's native client against a server that goes on while clients come and go.</summary>
public sealed class OriginalClientTests
{
    private const int ImageSize = 4 << 20;
    private const int Length = 32 << 10;
    private const ulong ScratchSector = 2 << 20 >> 9; // where I/O goes that nobody waits for
    private const int Runs = 150;

    [Theory]
    [InlineData("/dev/shm")]
    [InlineData("/var/tmp")]
    public void Any_run_of_the_original_client_works_however_the_one_before_ended(string root)
    {
        using var folder = new TestFolder(root);
        using var server = new TestServer(folder.Path, [folder.Image("disk", ImageSize)]);
        var random = new Random(12);
        for (int run = 0; run < Runs; run++)
        {
            using var client = new OriginalClientModel(folder.Path, server.Name);
            if (random.Next(6) == 0)
            {
                client.Initialise(steps: random.Next(1, 4));
                continue;
            }

            Work(client, run);
            if (random.Next(3) == 0) continue;
            client.Begin(random.Next(2) == 0 ? RequestKind.Write : RequestKind.Read, ScratchSector, 1 << 20, 16 << 10, random.Next(1, 60));
            if (random.Next(2) == 0) Thread.Sleep(random.Next(4));
        }

        Assert.False(server.Failed);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void A_run_that_ends_in_its_greeting_does_not_keep_the_next_from_working(int steps)
    {
        using var folder = new TestFolder();
        using var server = new TestServer(folder.Path, [folder.Image("disk", ImageSize)]);
        for (int run = 0; run < 3; run++)
        {
            using (var dies = new OriginalClientModel(folder.Path, server.Name))
            {
                dies.Initialise(steps);
                dies.AwaitAnswer();
            }

            using var client = new OriginalClientModel(folder.Path, server.Name);
            Work(client, run);
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_client_that_began_while_no_server_was_there_is_served_by_the_next(bool afterAnother)
    {
        using var folder = new TestFolder();
        string image = folder.Image("disk", ImageSize);
        var first = new TestServer(folder.Path, [image]);
        if (afterAnother)
        {
            using var client = new OriginalClientModel(folder.Path, first.Name);
            Work(client, 0);
        }

        // A server that is killed leaves its channel active.
        byte[] channel = TestFolder.Contents($"{folder.Path}/response");
        first.Dispose();
        using (SafeFileHandle? file = PosixFile.TryOpen($"{folder.Path}/response", O_RDWR, out _)) RandomAccess.Write(file!, channel, 0);

        // It looks again when the new server's channel is active: a look at just the moment in which that is inactive would be its end.
        using var halts = new ManualResetEventSlim();
        using var goesOn = new ManualResetEventSlim();
        using var waiting = new OriginalClientModel(folder.Path, first.Name) { Halt = Halt };
        var run = new Thread(() => waiting.Initialise()) { IsBackground = true };
        run.Start();
        Assert.True(halts.Wait(20_000, TestContext.Current.CancellationToken), "the client does not wait for an answer");
        Assert.Equal(afterAnother ? 2ul : 1ul, waiting.Sent);
        using var second = new TestServer(folder.Path, [image]);
        Assert.True(SpinWait.SpinUntil(HasBegun, 20_000), "the new server does not begin");
        goesOn.Set();
        Assert.True(run.Join(20_000), "the client waits for ever");
        Assert.Equal(1ul, waiting.Devices);

        void Halt()
        {
            halts.Set();
            goesOn.Wait();
            Thread.Sleep(1);
        }

        bool HasBegun() => Epoch(TestFolder.Contents($"{folder.Path}/response")) is ulong epoch && epoch != 0 && epoch != Epoch(channel);

        static ulong Epoch(byte[] contents) => BitConverter.ToUInt64(contents, 8);
    }

    private static void Work(OriginalClientModel client, int run)
    {
        client.Initialise();
        Assert.Equal((1ul, (ulong)ImageSize, 65536ul), (client.Devices, client.Blocks * client.BlockLength, client.MostBlocks));
        for (int turn = 0; turn < 3; turn++)
        {
            var random = new Random((run * 3) + turn);
            byte[] content = new byte[Length];
            random.NextBytes(content);
            content.CopyTo(client.Buffer);
            Assert.True(client.Transfer(RequestKind.Write, (ulong)turn * 64, 0, Length / 8, count: 8));

            // What was answered was taken: nothing that happens to the buffer afterwards reaches the disk.
            client.Buffer[..Length].Fill(0xee);
            Assert.True(client.Sync());
            Assert.True(client.Transfer(RequestKind.Read, (ulong)turn * 64, Length, Length / 8, count: 8));
            Assert.True(client.Buffer.Slice(Length, Length).SequenceEqual(content), $"run {run} read something else than it wrote");
            client.Buffer.Slice(Length, Length).Fill(0xdd);
        }
    }
}
