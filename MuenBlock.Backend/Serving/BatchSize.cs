using MuenBlock.Protocol.Messages;

namespace MuenBlock.Backend.Serving;

/// <summary>
/// How many requests are taken from the channel at a time, before what they ask for is submitted. A batch spares system calls, but the disk, and
/// the client that awaits the first answers, wait for all of it.
/// </summary>
internal sealed class BatchSize
{
    /// <summary>So many keep a disk busy while the next are prepared.</summary>
    public const int Few = 4;

    /// <summary>
    /// The bytes of a batch. What moves more takes longer than its system call by far; where it is moved while it is submitted, as to memory,
    /// the client copies the last batch meanwhile.
    /// </summary>
    public const ulong MostBytes = 512 << 10;

    private readonly int _most;
    private int _byLength;
    private bool _leftMore;
    private bool _isImmediate; // the disk has done an I/O when it is submitted

    /// <summary>Creates the size of the batches of a connection.</summary>
    /// <param name="most">The most that there is room for, at least 1.</param>
    public BatchSize(int most) => _most = _byLength = most;

    /// <summary>The size of the next batch.</summary>
    /// <param name="underWay">How many I/Os the disk has.</param>
    /// <returns>
    /// From 1 to the most: no more than the disk has, but a few, so that it always has something to do. One that has done all of the last batch
    /// already is as idle with many as with few.
    /// </returns>
    public int Next(int underWay)
    {
        if (underWay > 0) _isImmediate = false;
        else if (_leftMore) _isImmediate = true;
        int some = _isImmediate ? _most : Math.Max(Few, underWay);
        return Math.Min(Math.Min(some, _most), _byLength);
    }

    /// <summary>Takes note of the batch that was taken.</summary>
    /// <param name="batch">Its requests, in private memory; their fields may be anything.</param>
    /// <param name="leftMore">Whether there are more in the channel, so that the next batch follows as soon as this one is submitted.</param>
    public void Took(ReadOnlySpan<Request> batch, bool leftMore)
    {
        _leftMore = leftMore;
        if (batch.IsEmpty || batch[^1].Kind is not (RequestKind.Read or RequestKind.Write)) return;

        // The next are taken to be as long as the last one: what they are is not known before they are taken.
        _byLength = (int)Math.Clamp(MostBytes / Math.Max(batch[^1].Length, 1), 1, (ulong)_most);
    }
}
