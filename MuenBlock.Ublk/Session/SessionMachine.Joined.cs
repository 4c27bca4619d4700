using System.Runtime.CompilerServices;
using MuenBlock.Protocol.Messages;

namespace MuenBlock.Ublk.Session;

/// <content>What is different where the connection is one of several that lead to the same block devices, see <see cref="JoinedSessions"/>.</content>
internal sealed partial class SessionMachine<TRequests, TCompletions>
{
    /// <summary>How often a session that waits for those of joined connections looks again.</summary>
    public const long OthersMilliseconds = 50;

    private readonly JoinedSessions.Member? _joined;
    private bool _awaitsOthers;

    /// <summary>Whether a server may still carry out an I/O that has failed on one of the other queues, over what this one would write.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool CouldBeUndone(RequestKind kind) => _joined is not null && kind is RequestKind.Write or RequestKind.Discard && _joined.AnyDoubt;

    /// <summary>Whether a server may know of an I/O that has not ended.</summary>
    private bool HasSent
    {
        get
        {
            foreach (ref readonly InFlight entry in _table.AsSpan())
            {
                if (entry.Kind != RequestKind.None && entry.Sent) return true;
            }

            return false;
        }
    }

    /// <summary>The other connections' servers may be about to be restarted as well, with the same new disk. Nothing is asked meanwhile.</summary>
    private void AwaitOthers(string rule, long now)
    {
        if (!_awaitsOthers) _events.Disagrees(rule);
        _awaitsOthers = true;
        _questionTag += 1u << SlotBits;
        _questionDeadline = now + OthersMilliseconds;
    }
}
