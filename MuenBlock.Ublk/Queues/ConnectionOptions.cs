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
    /// <summary>Where the events of channels are; null if there are none.</summary>
    public string? EventDirectory { get; init; }

    /// <summary>On which CPUs the connections' threads run.</summary>
    public CpuChoice Cpus { get; init; } = CpuChoice.Any;

    /// <summary>Sees to it that no read is given up, and may still be written later, into memory that applications share.</summary>
    /// <param name="patience">How long I/O may take.</param>
    /// <param name="sharesMemory">Whether applications share the buffer with the server.</param>
    /// <exception cref="ProgramException">It may be.</exception>
    public static void Check(Patience patience, bool sharesMemory)
    {
        if (sharesMemory && patience.Fail != long.MaxValue)
            throw new ProgramException(ExitCode.Usage, "--io-timeout and --app-memory exclude each other: a read that was given up could still be written into an application's memory later");
    }
}
