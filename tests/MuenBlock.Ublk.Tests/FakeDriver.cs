using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using MuenBlock.Protocol.Messages;
using MuenBlock.Ublk.Control;
using static Tmds.Linux.LibC;

namespace MuenBlock.Ublk.Tests;

/// <summary>A command as the driver got it.</summary>
internal sealed record SentCommand(uint Operation, ControlCommand Command, byte[] Data);

/// <summary>
/// Stands in for the ublk driver: keeps devices, answers control commands as the real one does (drivers/block/ublk_drv.c), and notes
/// what it was asked. What a test prescribes goes before.
/// </summary>
internal sealed class FakeDriver
{
    /// <summary>What a current driver can do.</summary>
    public const UblkFeatures Current = (UblkFeatures)0x1fffff;

    private readonly Lock _gate = new();

    public UblkFeatures Features { get; set; } = Current;

    public Dictionary<int, DeviceInfo> Devices { get; } = [];

    public Dictionary<int, DeviceParameters> Parameters { get; } = [];

    /// <summary>Devices that somebody has open.</summary>
    public HashSet<int> Open { get; } = [];

    /// <summary>What was asked, in order.</summary>
    public List<SentCommand> Sent { get; } = [];

    /// <summary>Answers a command instead of the driver; null leaves it to the driver. Called without a lock.</summary>
    public Func<SentCommand, int?> Answer { get; set; } = _ => null;

    /// <summary>Rings that were made, and those of them that were disposed of.</summary>
    public int Rings { get; private set; }

    public int DisposedRings { get; private set; }

    public IControlRing OpenRing()
    {
        Rings++;
        return new FakeRing(this);
    }

    public ControlPlane OpenPlane(TimeSpan? deadline = null, ILogger? log = null, FakeSystem? system = null) => new(
        OpenRing, Open.Contains, new SystemFiles(system?.Root ?? "/nowhere"), log ?? Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance, deadline);

    public void Put(int id, DeviceState state = DeviceState.Live, int pid = 100, bool ours = true, byte device = 0, uint connection = 0, UblkFeatures flags = 0) => Devices[id] = new DeviceInfo
    {
        DeviceId = (uint)id,
        State = state,
        ServerPid = pid,
        HardwareQueues = 1,
        QueueDepth = 64,
        LargestIoBytes = 1 << 20,
        Flags = flags,
        ServerFlags = ours ? Ownership.Mark(device, OffsetUnit.Sectors, connection) : 0,
    };

    private unsafe int Run(uint operation, in ControlCommand command)
    {
        var memory = new Span<byte>((void*)command.Address, command.Length);
        var sent = new SentCommand(operation, command, memory.ToArray());
        lock (_gate) Sent.Add(sent);
        if (Answer(sent) is { } answer) return answer;
        lock (_gate) return Carry(operation, command, memory);
    }

    private int Carry(uint operation, in ControlCommand command, Span<byte> memory)
    {
        int id = (int)command.DeviceId;
        if (operation == UblkCommands.GetFeatures)
        {
            MemoryMarshal.Write(memory, (ulong)Features);
            return 0;
        }

        if (operation == UblkCommands.AddDevice)
        {
            DeviceInfo info = MemoryMarshal.Read<DeviceInfo>(memory);
            if (id < 0) id = Enumerable.Range(0, int.MaxValue).First(free => !Devices.ContainsKey(free));
            if (Devices.ContainsKey(id)) return -EEXIST;
            info.DeviceId = (uint)id;
            info.Flags = (info.Flags & Features) | UblkFeatures.EncodedCommands;
            Devices[id] = info;
            MemoryMarshal.Write(memory, info);
            return 0;
        }

        if (!Devices.TryGetValue(id, out DeviceInfo device)) return -ENODEV;
        memory = memory[command.PathLength..];
        switch (operation)
        {
            case UblkCommands.GetDeviceInfo or UblkCommands.GetDeviceInfo2:
                MemoryMarshal.Write(memory, device);
                return 0;
            case UblkCommands.SetParameters:
                Parameters[id] = MemoryMarshal.Read<DeviceParameters>(memory);
                return 0;
            case UblkCommands.GetParameters:
                MemoryMarshal.Write(memory, Parameters.GetValueOrDefault(id));
                return 0;
            case UblkCommands.GetQueueAffinity when command.Argument < device.HardwareQueues:
                memory[(int)command.Argument] = 0b1010;
                return 0;
            case UblkCommands.StartDevice:
                device.State = DeviceState.Live;
                device.ServerPid = (int)command.Argument;
                break;
            case UblkCommands.UpdateSize:
                DeviceParameters parameters = Parameters.GetValueOrDefault(id);
                parameters.Basic.DeviceSectors = command.Argument;
                Parameters[id] = parameters;
                return 0;
            case UblkCommands.QuiesceDevice:
                device.State = DeviceState.Quiesced;
                break;
            case UblkCommands.TryStopDevice when Open.Contains(id):
                return -EBUSY;
            case UblkCommands.TryStopDevice or UblkCommands.StopDevice:
                device.State = DeviceState.Dead;
                device.ServerPid = -1;
                break;
            case UblkCommands.DeleteDevice or UblkCommands.DeleteDeviceAsync:
                Devices.Remove(id);
                return 0;
            default:
                return -EOPNOTSUPP;
        }

        Devices[id] = device;
        return 0;
    }

    private sealed class FakeRing(FakeDriver driver) : IControlRing
    {
        /// <summary>The answer that means: wait for the cancellation.</summary>
        public const int WaitForCancel = int.MinValue;

        public bool Run(uint operation, in ControlCommand command, TimeSpan patience, out int result)
        {
            result = driver.Run(operation, command);
            return result != WaitForCancel;
        }

        public void Dispose() => driver.DisposedRings++;
    }

    /// <summary>An answer of <see cref="Answer"/>: the command does not end before it is cancelled.</summary>
    public const int Cancelled = FakeRing.WaitForCancel;
}
