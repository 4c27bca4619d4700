using System.Diagnostics;
using MuenBlock.Protocol.Channels;

namespace MuenBlock.Protocol.Signals;

/// <content>
/// Gathering: a short sleep for the peer's packets alone, while it owes many. What the ring gets meanwhile waits, and is collected together with
/// them. A sleep in the ring ends with the first of those, as the kernel wakes its owner for each that it has to see to (io_uring_cmd_complete_in_task),
/// however many were waited for; and where the application that asks one by one runs on the same CPU, that is a switch there and back for each.
/// </content>
public sealed unsafe partial class PeerSignal<TIn, TOut>
{
    // So many packets that are due come soon, one after the other, and keep the peer busy without what waits here.
    private const int Enough = 8;

    // As long as one that is in vain holds up what waits here: at a slow disk, before one sleep of SpinBudget.RarestLook. One that is not ends by itself.
    private const long LongestGathering = 1_000_000; // ns

    private readonly SpinBudget _gathering = new(Stopwatch.Frequency * LongestGathering / 1_000_000_000);
    private int _inFlight;

    /// <summary>
    /// Whether this end gathers before it sleeps: for one whose ring tells it of I/Os one by one, that is the client. Only with a peer that wakes by
    /// futex, and as long as about half of the gatherings end with packets of the peer.
    /// </summary>
    public bool Gathers { get; init; }

    /// <summary>Gathers, if that pays now.</summary>
    /// <returns>Whether there is news.</returns>
    private bool Gather()
    {
        if (_inFlight < Enough || _way != Way.Futex || !_peerWakes || !_incoming.Synchronised || _gathering.Next() == 0) return false;
        if (_ring.Queued > 0) _ = _ring.Enter();
        if (HasNews(expectPeer: true)) return true;

        // As in Sleep: the value first, then the hint, the fence that pairs with the one in the peer's Publish, and the last look.
        uint expected = Volatile.Read(ref *ChannelHeader.Futex(_incoming.Header));
        Volatile.Write(ref _outgoing.Header->Hint, ++_sequence);
        Interlocked.MemoryBarrier();
        long start = Stopwatch.GetTimestamp();
        if (!_incoming.HasNews)
        {
            Sleeps++;
            Futex.Wait(_ways.WaitWord, expected, LongestGathering);
        }

        Volatile.Write(ref _outgoing.Header->Hint, 0);
        if (_incoming.HasNews)
        {
            _gathering.Found(Stopwatch.GetTimestamp() - start);
            return true;
        }

        _gathering.Missed();
        return _ring.HasNews;
    }
}
