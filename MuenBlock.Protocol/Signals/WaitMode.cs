namespace MuenBlock.Protocol.Signals;

/// <summary>How an end waits for packets of the other one.</summary>
public enum WaitMode
{
    /// <summary>By the channel's event, or by futex, where both ends and the kernel can; by polling otherwise.</summary>
    Auto,

    /// <summary>By polling, whatever the other end can do.</summary>
    Poll,
}
