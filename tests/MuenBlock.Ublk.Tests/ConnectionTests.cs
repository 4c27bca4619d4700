using System.CommandLine;
using System.IO.Pipes;
using Microsoft.Extensions.Logging.Abstractions;
using MuenBlock.Protocol;
using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using MuenBlock.Protocol.Signals;
using MuenBlock.Ublk.Cli;
using MuenBlock.Ublk.Control;
using MuenBlock.Ublk.Queues;
using MuenBlock.Ublk.Session;
using static Tmds.Linux.LibC;

namespace MuenBlock.Ublk.Tests;

/// <summary>A connection before its devices are served: it can be given up at any time, and whatever fails is told.</summary>
public sealed class ConnectionTests : IDisposable
{
    private const long Never = long.MaxValue;

    private static readonly ConnectionString s_name = ConnectionString.Parse("1:request:response:buffer");

    private readonly string _directory = Directory.CreateTempSubdirectory("muenblock-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void Regions_that_are_missing_are_waited_for_until_that_is_given_up() => IsGivenUp(giveUp => Open(Never, TimeSpan.Zero, giveUp));

    [Fact]
    public void Another_client_that_is_about_to_end_is_waited_for_until_that_is_given_up()
    {
        MakeRegions();
        using ConnectionRegions first = Open(0, TimeSpan.Zero, static () => true);
        IsGivenUp(giveUp => Open(0, TimeSpan.MaxValue, giveUp));
    }

    [Fact]
    public void A_server_is_waited_for_until_that_is_given_up() => WithThread(thread => IsGivenUp(giveUp => thread.Connect(Never, giveUp)));

    // Here the list of devices is wrong; else it may be memory that is missing, or a file that the ring does not take.
    [Fact]
    public void A_thread_that_fails_to_take_its_devices_says_so_to_whoever_hands_them_over() => WithThread(thread =>
    {
        var layout = BufferLayout.Cut(1 << 20, 1, 60, ulong.MaxValue, mergesByBytes: false, null, null);
        thread.Prepare(layout, bounce: null);
        thread.Assign(layout, [], [], bounce: null, [], sharesMemory: false);
        ProgramException failure = Assert.Throws<ProgramException>(thread.AwaitTaken);
        Assert.Equal(ExitCode.Environment, failure.ExitCode);
        Assert.StartsWith("connection 1: ", failure.Message, StringComparison.Ordinal);
        Assert.Same(thread.Failure, failure.InnerException);
    });

    // The driver starts no device of which it lacks a tag: who waits for that is told why. Here the file is none of the driver's.
    [Fact]
    public void A_tag_that_the_driver_does_not_take_is_a_failure_of_its_thread() => WithThread(thread =>
    {
        var layout = BufferLayout.Cut(1 << 20, 1, 60, ulong.MaxValue, mergesByBytes: false, null, null);
        using DeviceQueue queue = NoDevice(layout.Depth);
        thread.Prepare(layout, bounce: null);
        thread.Assign(layout, [queue], [new DevicePromise(1 << 20, IsReadOnly: false)], bounce: null, [], sharesMemory: false);
        thread.Join();
        ProgramException failure = Assert.Throws<ProgramException>(thread.ThrowFailure);
        Assert.Equal(ExitCode.Environment, failure.ExitCode);
        Assert.StartsWith("the driver does not take the tags of /dev/ublkc7: ", failure.Message, StringComparison.Ordinal);
    });

    [Fact]
    public unsafe void An_upgrade_is_refused_while_no_backend_is_there_unless_it_is_said_how_long_to_wait()
    {
        MakeRegions();
        Command upgrade = UpgradeCommand.Create();
        var connection = new WaitingConnection(new QueueConnections(s_name), _directory, OffsetUnit.Sectors, Record: null, []);
        Refused("its response channel is inactive");
        UpgradeCommand.Check(upgrade.Parse("0 --connect-timeout 60"), connection);

        using var response = Region.Open(_directory, s_name.Response, writable: true, Region.PageSize);
        var writer = new ChannelWriter<Response>(response.Memory, response.Length, s_name.ResponseProtocol);
        writer.Initialise(1);
        UpgradeCommand.Check(upgrade.Parse("0"), connection);
        new ChannelWriter<Response>(response.Memory, response.Length, s_name.ResponseProtocol + 1).Initialise(2);
        Refused("found marker");
        writer.Initialise(3);
        writer.Deactivate();
        Refused("its response channel is inactive");

        void Refused(string why)
        {
            ProgramException failure = Assert.Throws<ProgramException>(() => UpgradeCommand.Check(upgrade.Parse("0"), connection));
            Assert.Equal(ExitCode.Peer, failure.ExitCode);
            Assert.StartsWith($"connection 1 has no backend at this moment ({why}", failure.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Who_started_a_server_and_has_gone_is_missed()
    {
        using var output = new AnonymousPipeServerStream(PipeDirection.Out);
        int descriptor = (int)output.SafePipeHandle.DangerousGetHandle();
        Assert.True(BackgroundServer.HasReader(descriptor));
        output.DisposeLocalCopyOfClientHandle();
        Assert.False(BackgroundServer.HasReader(descriptor));

        // A file, and what is no file at all, have nobody who could go.
        using FileStream file = File.Create(Path.Combine(_directory, "file"));
        Assert.True(BackgroundServer.HasReader((int)file.SafeFileHandle.DangerousGetHandle()));
        Assert.True(BackgroundServer.HasReader(-1));
    }

    // What applications share of it is to be forgotten for good: the driver has the pages of before for as long as there are devices.
    [Fact]
    public void A_thread_whose_buffer_was_cut_off_says_so_also_when_the_buffer_is_whole_again() => WithThread(thread =>
    {
        Assert.False(thread.HasLostBuffer);
        using FileStream buffer = File.OpenWrite(Path.Combine(_directory, s_name.Buffer));
        buffer.SetLength(0);
        thread.LookAtRegions();
        Assert.True(SpinWait.SpinUntil(() => thread.HasLostBuffer, TimeSpan.FromMinutes(1)));
        buffer.SetLength(1 << 20);
        thread.LookAtRegions();
        Assert.True(thread.HasLostBuffer);
    });

    private DeviceQueue NoDevice(int depth)
    {
        string path = Path.Combine(_directory, "ublkc7");
        using (FileStream made = File.Create(path)) made.SetLength(1 << 20);
        var file = new CharacterDevice(7, PosixFile.TryOpen(path, O_RDWR, out _)!);
        var queue = DeviceQueue.Map(file, new DeviceInfo { DeviceId = 7, HardwareQueues = 1, QueueDepth = (ushort)depth }, index: 0, number: 0);
        file.Leave();
        return queue;
    }

    private static void IsGivenUp(Action<Func<bool>> wait)
    {
        int looks = 0;
        ProgramException failure = Assert.Throws<ProgramException>(() => wait(() => ++looks == 3));
        Assert.Equal(3, looks);
        Assert.Equal(ExitCode.Busy, failure.ExitCode);
        Assert.StartsWith("asked to end while ", failure.Message, StringComparison.Ordinal);
    }

    private ConnectionRegions Open(long deadline, TimeSpan patience, Func<bool> giveUp) =>
        ConnectionRegions.Open(s_name, _directory, deadline, patience, new RegionFiles(NullLogger.Instance), giveUp);

    private void MakeRegions()
    {
        foreach (string name in new[] { s_name.Request, s_name.Response, s_name.Buffer })
        {
            using FileStream file = File.Create(Path.Combine(_directory, name));
            file.SetLength(1 << 20);
        }
    }

    private void WithThread(Action<ConnectionThread> test)
    {
        MakeRegions();
        using ConnectionRegions regions = Open(0, TimeSpan.Zero, static () => true);
        var options = new ConnectionOptions(OffsetUnit.Sectors, WaitMode.Auto, TimeSpan.Zero, Patience.Endless);
        using var thread = new ConnectionThread(regions, options, joined: null, NullLogger.Instance, static () => { }) { Grows = true, KnowsDisks = false };
        thread.Begin();
        try
        {
            test(thread);
        }
        finally
        {
            thread.Stop();
            thread.Join();
        }
    }
}
