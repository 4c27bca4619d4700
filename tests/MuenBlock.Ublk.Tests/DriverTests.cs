using System.Diagnostics;
using Microsoft.Extensions.Logging.Abstractions;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Tests;

/// <summary>Control commands against the real driver: ./guest -- dotnet exec …/MuenBlock.Ublk.Tests.dll. Skipped where there is none.</summary>
[Collection(nameof(Console))]
public sealed class DriverTests : IDisposable
{
    private const int Size = 32 << 20;

    private readonly ControlPlane _control;
    private readonly List<int> _added = [];
    private readonly List<MemoryServer> _servers = [];

    public DriverTests()
    {
        Assert.SkipUnless(File.Exists(ControlPlane.Path), "this machine has no ublk driver");
        _control = ControlPlane.Open(NullLogger.Instance);
    }

    public void Dispose()
    {
        if (_control is null) return;
        foreach (int id in _added)
        {
            _control.Stop(id);
            _control.Delete(id);
        }

        _control.Dispose();
        Assert.True(_servers.TrueForAll(server => !server.WasLeft), "a device was not stopped");
    }

    [Fact]
    public void A_server_ends_also_where_a_test_fails_before_it_stops_the_device()
    {
        Start(out MemoryServer server);
        server.Patience = TimeSpan.FromMilliseconds(100);
        server.Dispose();
        Assert.True(server.WasLeft);
        _servers.Clear();
    }

    [Fact]
    public void The_driver_numbers_its_commands_as_is_required() => Assert.True(_control.Features.HasFlag(UblkFeatures.EncodedCommands));

    [Fact]
    public void A_device_is_added_looked_at_and_deleted()
    {
        DeviceInfo added = Add();
        int id = (int)added.DeviceId;
        Assert.Equal(MemoryServer.Depth, added.QueueDepth);
        Assert.True(added.Flags.HasFlag(UblkFeatures.EncodedCommands));
        DeviceInfo info = _control.TryGetInfo(id)!.Value;
        Assert.Equal(DeviceState.Dead, info.State);
        Assert.True(Ownership.IsOurs(info));
        Assert.Equal((5, OffsetUnit.Bytes, 77u), (Ownership.DeviceIndex(info), Ownership.Unit(info), Ownership.Connection(info)));
        Assert.Contains(id, DeviceDirectory.Ids());
        _control.SetParameters(id, MemoryServer.Parameters(Size));
        DeviceParameters parameters = _control.GetParameters(id);
        Assert.Equal((ulong)Size >> 9, parameters.Basic.DeviceSectors);
        Assert.True(parameters.Types.HasFlag(ParameterTypes.DeviceNumbers));
        Assert.NotEqual(0u, parameters.DeviceNumbers.CharacterMajor);
        _control.Delete(id);
        Assert.Null(_control.TryGetInfo(id));
        Assert.DoesNotContain(id, DeviceDirectory.Ids());
    }

    [Fact]
    public void An_id_that_is_taken_is_busy()
    {
        DeviceInfo added = Add();
        ProgramException failure = Assert.Throws<ProgramException>(() => _control.Add(new DeviceInfo { DeviceId = added.DeviceId, HardwareQueues = 1, QueueDepth = 1, LargestIoBytes = 4096 }));
        Assert.Equal(ExitCode.Busy, failure.ExitCode);
    }

    [Fact]
    public void What_the_driver_refuses_is_explained()
    {
        ProgramException failure = Assert.Throws<ProgramException>(() => _control.Add(new DeviceInfo { DeviceId = DeviceInfo.AnyId, HardwareQueues = 1, QueueDepth = 9999, LargestIoBytes = 4096 }));
        Assert.Contains("refuses what the device shall be like", failure.Message, StringComparison.Ordinal);
        int id = (int)Add().DeviceId;
        DeviceParameters parameters = MemoryServer.Parameters(Size);
        parameters.Basic.LogicalBlockShift = 3;
        Assert.Contains("block size", Assert.Throws<ProgramException>(() => _control.SetParameters(id, parameters)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Flags_that_the_driver_does_not_know_are_dropped_from_what_it_gives_back()
    {
        const UblkFeatures unknown = (UblkFeatures)(1ul << 62);
        Assert.False(Add(unknown).Flags.HasFlag(unknown));
    }

    [Fact]
    public void A_start_that_no_server_answers_is_cancelled_and_the_device_can_be_deleted()
    {
        int id = (int)Add().DeviceId;
        _control.SetParameters(id, MemoryServer.Parameters(Size));
        using var impatient = ControlPlane.Open(NullLogger.Instance, TimeSpan.FromMilliseconds(500));
        long start = Environment.TickCount64;
        ProgramException failure = Assert.Throws<ProgramException>(() => impatient.Start(id, Environment.ProcessId));
        Assert.Equal(ExitCode.Kernel, failure.ExitCode);
        Assert.Contains("START_DEV", failure.Message, StringComparison.Ordinal);
        Assert.InRange(Environment.TickCount64 - start, 400, 20_000);

        // It would wait for the start's reference otherwise.
        _control.Delete(id);
        Assert.Null(_control.TryGetInfo(id));
    }
    [Fact]
    public void A_device_that_is_open_is_not_stopped_and_its_user_is_named()
    {
        int id = Start(out MemoryServer server);
        using (server)
        {
            using (FileStream open = File.OpenRead($"/dev/ublkb{id}"))
            {
                Assert.Equal([$"open in {Comm()} (pid {Environment.ProcessId})"], DeviceHolders.Find(id));
                Assert.False(_control.TryStop(id));
                Assert.False(DeviceHolders.IsClaimed(id));
                Assert.Equal(DeviceState.Live, _control.TryGetInfo(id)!.Value.State);
            }

            Assert.Empty(DeviceHolders.Find(id));
            Assert.Equal([Environment.ProcessId], DeviceHolders.Machine.ServersOf(id));
            Assert.True(_control.TryStop(id));
        }

        Assert.Equal(DeviceState.Dead, _control.TryGetInfo(id)!.Value.State);
        Assert.True(_control.TryGetInfo(id)!.Value.ServerPid <= 0);
        Assert.Empty(DeviceHolders.Machine.ServersOf(id));
    }

    [Fact]
    public void Mounts_swap_and_loop_devices_are_named()
    {
        int id = Start(out MemoryServer server);
        using (server)
        {
            string disk = $"/dev/ublkb{id}";
            string folder = Directory.CreateTempSubdirectory("mount point ").FullName;
            Tool("mkfs.ext4", "-q", disk);
            Tool("mount", disk, folder);
            Assert.Equal([$"mounted on {folder}"], DeviceHolders.Find(id));
            Assert.True(DeviceHolders.IsClaimed(id));
            Assert.False(_control.TryStop(id));
            Tool("umount", folder);
            Directory.Delete(folder);

            Tool("mkswap", disk);
            Tool("swapon", disk);
            Assert.Equal(["in use as swap"], DeviceHolders.Find(id));
            Tool("swapoff", disk);

            string loop = Tool("losetup", "--find", "--show", disk).Trim();
            Assert.Equal([$"used by {Path.GetFileName(loop)}"], DeviceHolders.Find(id));
            Assert.False(_control.TryStop(id));
            Tool("losetup", "--detach", loop);
            Assert.True(SpinWait.SpinUntil(() => DeviceHolders.Find(id).Count == 0, TimeSpan.FromSeconds(30)));
            Assert.False(DeviceHolders.IsClaimed(id));
            Assert.True(_control.TryStop(id));
        }
    }

    [Fact]
    public void A_partitions_user_is_a_user_of_the_disk()
    {
        int id = Start(out MemoryServer server);
        using (server)
        {
            string disk = $"/dev/ublkb{id}";
            Tool("sh", "-c", $"printf 'label: dos\n,8MiB\n,\n' | sfdisk -q {disk}");
            Assert.True(SpinWait.SpinUntil(() => File.Exists($"{disk}p2"), TimeSpan.FromSeconds(30)));
            string folder = Directory.CreateTempSubdirectory("mount-").FullName;
            Tool("mkfs.ext4", "-q", $"{disk}p2");
            Tool("mount", $"{disk}p2", folder);
            Assert.Equal([$"mounted on {folder} ({disk}p2)"], DeviceHolders.Find(id));
            Assert.True(DeviceHolders.IsClaimed(id));
            Assert.False(_control.TryStop(id));
            Tool("umount", folder);
            Directory.Delete(folder);
            Assert.True(_control.TryStop(id));
        }
    }

    [Fact]
    public void Removal_leaves_no_node_and_no_record()
    {
        int id = Start(out MemoryServer server);
        using (server)
        {
            DeviceRecordTests.Example(id).Save();
            new DeviceRemoval(_control, new EndlessProcess(RemovalMachine.This)).Remove(id);
        }

        _added.Clear();
        Assert.Null(_control.TryGetInfo(id));
        Assert.Null(DeviceRecord.TryLoad(id));
        Assert.False(File.Exists($"/dev/ublkb{id}"));
        Assert.False(File.Exists($"/dev/ublkc{id}"));
    }

    [Fact]
    public void A_device_that_waits_for_another_server_can_be_removed()
    {
        // A newer driver reads the partition table after START_DEV has returned: that would hold the device open, waiting as well.
        int id = Start(out MemoryServer server, UblkFeatures.UserRecovery | UblkFeatures.UserRecoveryReissue | UblkFeatures.NoAutoPartitionScan);
        using (server)
        {
            server.Die();
            Assert.True(SpinWait.SpinUntil(() => _control.TryGetInfo(id)!.Value.State == DeviceState.Quiesced, TimeSpan.FromSeconds(30)));
            Assert.Null(_control.TryGetInfo(id)!.Value.Server);
            using (FileStream open = File.OpenRead($"/dev/ublkb{id}")) Assert.False(_control.TryStop(id));
            new DeviceRemoval(_control, new EndlessProcess(RemovalMachine.This)).Remove(id);
        }

        _added.Clear();
        Assert.Null(_control.TryGetInfo(id));
    }

    private static string Comm() => File.ReadAllText("/proc/self/comm").Trim();

    private static string Tool(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{program}: {errors.Result}");
        return output;
    }

    private DeviceInfo Add(UblkFeatures flags = 0)
    {
        DeviceInfo info = _control.Add(new DeviceInfo
        {
            DeviceId = DeviceInfo.AnyId,
            HardwareQueues = 1,
            QueueDepth = MemoryServer.Depth,
            LargestIoBytes = MemoryServer.SlotSize,
            Flags = flags,
            ServerFlags = Ownership.Mark(5, OffsetUnit.Bytes, 77),
            ServerPid = Environment.ProcessId,
        });
        _added.Add((int)info.DeviceId);
        return info;
    }

    private int Start(out MemoryServer server, UblkFeatures flags = 0)
    {
        int id = (int)Add(flags).DeviceId;
        _control.SetParameters(id, MemoryServer.Parameters(Size));
        server = new MemoryServer(id, Size);
        _servers.Add(server);
        _control.Start(id, Environment.ProcessId);
        return id;
    }

    /// <summary>The server is this very process, which does not end with its device.</summary>
    private sealed class EndlessProcess(RemovalMachine machine) : IRemovalMachine
    {
        public long Milliseconds => machine.Milliseconds;

        public void Sleep(int milliseconds) => machine.Sleep(milliseconds);

        public bool SeesAllProcesses => true;

        public IReadOnlyList<int> Ids() => machine.Ids();

        public IReadOnlyList<string> Users(int id) => machine.Users(id);

        public long InFlight(int id) => machine.InFlight(id);

        public bool TryKillServer(int id, int pid) => false;

        public bool TryAskServer(int id, int pid) => false;

        public bool IsEnding(int pid) => true;

        public bool HasServer(int id) => machine.HasServer(id);

        public bool FindsSame(int pid, string folder) => machine.FindsSame(pid, folder);

        public bool HasNodes(int id) => machine.HasNodes(id);

        public bool IsAlive(int pid) => false;

        public DeviceRecord? TryLoadRecord(int id) => machine.TryLoadRecord(id);

        public void DeleteRecord(int id) => machine.DeleteRecord(id);

        public void DeleteServerLog(DeviceRecord record) => machine.DeleteServerLog(record);
    }
}
