using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Signals;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Queues;

/// <summary>How a connection is used.</summary>
/// <param name="OffsetUnit">What device offsets count on the wire.</param>
/// <param name="Wait">How answers are waited for.</param>
/// <param name="Spin">How long at most to look for work before sleeping.</param>
/// <param name="Patience">How long I/O may take.</param>
internal sealed record ConnectionOptions(OffsetUnit OffsetUnit, WaitMode Wait, TimeSpan Spin, Patience Patience)
{
    /// <summary>Why the two do not go together.</summary>
    public const string NoTimeoutWithSharedMemory =
        "--io-timeout and --app-memory exclude each other: a read that was given up could still be written into an application's memory later";

    /// <summary>Where the events of channels are; null if there are none.</summary>
    public string? EventDirectory { get; init; }

    /// <summary>On which CPUs the connections' threads run.</summary>
    public CpuChoice Cpus { get; init; } = CpuChoice.Any;
}
