namespace MuenBlock.Ublk.Session;

/// <summary>Where a session reports the end of block I/O.</summary>
internal interface IBlockCompletions
{
    /// <summary>An I/O has ended.</summary>
    /// <param name="slot">Its slot.</param>
    /// <param name="result">Its full length in bytes, or a negative errno; never anything between (invariant I5).</param>
    void Complete(uint slot, int result);
}
