using MuenBlock.Protocol.Messages;

namespace MuenBlock.Ublk.Session;

/// <content>
/// What happens to I/O that is not answered for long. Every I/O has the time of its arrival; once in a while all are looked at.
/// <para>
/// An I/O that is given up may still be carried out: by a server that was only stopped, or by the disk. So after the first one the session is
/// lost as a whole. Everything in the table fails, nothing more is sent, and a Reset is, whose answer says that nothing of before touches
/// the disk or the buffer any more (invariant I6). Until then no write succeeds that a late one could overwrite, and no slot that the server
/// may still touch is the kernel's (I2): it copies what it wants written elsewhere meanwhile.
/// </para>
/// </content>
internal sealed partial class SessionMachine<TRequests, TCompletions>
{
    private readonly Patience _patience = Patience.Endless;
    private long _nextLook = long.MaxValue;
    private bool _late;
    private bool _lost;

    /// <summary>How long I/O may take. For ever, where nothing is said.</summary>
    public Patience Patience
    {
        get => _patience;
        init
        {
            _patience = value;
            _nextLook = value.LookEvery == long.MaxValue ? long.MaxValue : 0;
        }
    }

    /// <summary>The time, in milliseconds of a clock that does not go back; set before I/O is submitted.</summary>
    public long Now { get; set; }

    /// <summary>Whether the server is given up, so that all I/O fails until it has answered a Reset.</summary>
    public bool IsLost => _lost;

    /// <summary>Whether the slot is not the kernel's, as a server may still touch it: what the kernel writes is in another place, and is copied when it is sent.</summary>
    /// <param name="slot">The slot.</param>
    /// <returns>Whether it is so.</returns>
    public bool IsElsewhere(uint slot) => _table[slot].Elsewhere;

    private long LookDeadline => _nextLook == long.MaxValue ? long.MaxValue : _nextLook + Patience.Slack;

    private void Look()
    {
        _nextLook = Now + Patience.LookEvery;
        long oldest = 0;
        foreach (ref InFlight entry in _table.AsSpan())
        {
            if (entry.Kind == RequestKind.None) continue;
            long age = Now - entry.Since;
            oldest = Math.Max(oldest, age);
            if (age < Patience.Warn || entry.Stalled) continue;
            entry.Stalled = true;
            _events.Stalled(entry, age);
        }

        // Only the second time in a row: after a pause of the whole machine the answers may be there, and not be collected yet.
        bool late = oldest >= Patience.Fail;
        if (late && _late) Lose(oldest);
        _late = late;
    }

    private void Lose(long oldest)
    {
        int failed = Count;
        _lost = true;
        GiveUpAll();
        _events.Lost(failed, oldest);
        if (State == SessionState.Ready) Greet(Now);
    }

    private void GiveUpAll()
    {
        if (HasSent) _joined?.Doubt();
        for (uint slot = 0; slot < (uint)_table.Length; slot++)
        {
            if (_table[slot].Kind != RequestKind.None) GiveUp(slot, ref _table[slot]);
        }
    }

    /// <summary>Ends an I/O without an answer. If it was sent, its slot may still be touched.</summary>
    private void GiveUp(uint slot, ref InFlight entry)
    {
        entry.Elsewhere |= entry.Sent;
        if (!entry.Elsewhere)
        {
            End(slot, ref entry, -Eio);
            return;
        }

        if (entry.Stalled) _events.StallEnded(entry, Now - entry.Since, -Eio);
        entry.Kind = RequestKind.None;
        entry.Held = false;
        Count--;
        _completions.Abandon(slot, -Eio);
    }

    /// <summary>
    /// The server has answered a Reset. No server knows of any I/O of before, as if it had never been sent: if it is given up before it is sent again, that
    /// raises no doubt, which nothing would end any more.
    /// </summary>
    private void TrustServer()
    {
        foreach (ref InFlight entry in _table.AsSpan()) entry.Sent = false;
        _joined?.Trust();
    }

    /// <summary>The session that could touch the slot is over: the slot is the kernel's again, and what it has written meanwhile goes there.</summary>
    private void Return(uint slot, ref InFlight entry)
    {
        entry.Elsewhere = false;
        _completions.Restore(slot, entry.Kind == RequestKind.Write && entry.BufferOffset == slot * _slotSize ? entry.Length : 0);
    }
}
