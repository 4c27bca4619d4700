namespace MuenBlock.Ublk.Session;

/// <summary>Where a session reports the end of block I/O.</summary>
internal interface IBlockCompletions
{
    /// <summary>An I/O has ended.</summary>
    /// <param name="slot">Its slot.</param>
    /// <param name="result">Its full length in bytes, or a negative errno; never anything between (invariant I5).</param>
    void Complete(uint slot, int result);

    /// <summary>
    /// An I/O has ended without an answer, and the server may still touch its slot. Until the next <see cref="Complete"/> the kernel gets
    /// another place for what it writes, which the server does not have.
    /// </summary>
    /// <param name="slot">Its slot.</param>
    /// <param name="errno">A negative errno.</param>
    void Abandon(uint slot, int errno);

    /// <summary>Copies what the kernel wrote to that other place into the slot, which the server does not touch any more.</summary>
    /// <param name="slot">The slot.</param>
    /// <param name="length">How many bytes.</param>
    void Restore(uint slot, uint length);
}
