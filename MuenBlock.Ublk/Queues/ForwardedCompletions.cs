using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Queues;

/// <summary>Where a session's completions go once the devices are known: a session greets its server before there are any.</summary>
internal sealed class LateCompletions
{
    /// <summary>The queues' commands.</summary>
    public QueueCommands Commands { get; set; }
}

/// <summary>Passes completions on to the queues.</summary>
/// <param name="target">Where to.</param>
internal readonly struct ForwardedCompletions(LateCompletions target) : IBlockCompletions
{
    /// <inheritdoc/>
    public void Complete(uint slot, int result) => target.Commands.Complete(slot, result);

    /// <inheritdoc/>
    public void Abandon(uint slot, int errno) => target.Commands.Abandon(slot, errno);

    /// <inheritdoc/>
    public void Restore(uint slot, uint length) => target.Commands.Restore(slot, length);
}
