using MuenBlock.Protocol.Messages;

namespace MuenBlock.Ublk.Session;

/// <content>What a server of the original would merge, see <c>BufferLayout</c>: of two such I/Os the later is held until the earlier has ended.</content>
internal sealed partial class SessionMachine<TRequests, TCompletions>
{
    /// <summary>Whether an I/O that came earlier, in a slot beside this one, would be merged with it.</summary>
    private bool MustWait(uint slot, in InFlight entry)
    {
        if (entry.Kind is not (RequestKind.Read or RequestKind.Write)) return false;
        if (slot > 0 && _table[slot - 1].Order < entry.Order && WouldBeMerged(_table[slot - 1], entry)) return true;
        return slot + 1 < (uint)_table.Length && _table[slot + 1].Order < entry.Order && WouldBeMerged(entry, _table[slot + 1]);
    }

    // The second continues the first in the buffer, and on the disk by its sector plus the first's number of bytes (docs/wire-format.md, "With peers of the original").
    private bool WouldBeMerged(in InFlight first, in InFlight second) =>
        first.Kind == second.Kind
        && first.Device == second.Device
        && first.Length == _slotSize
        && (second.Offset >> SectorShift) == (first.Offset >> SectorShift) + first.Length;

    private void SendHeldNeighbours(uint slot)
    {
        if (slot > 0 && _table[slot - 1].Held) Send(slot - 1, ref _table[slot - 1]);
        if (slot + 1 < (uint)_table.Length && _table[slot + 1].Held) Send(slot + 1, ref _table[slot + 1]);
    }
}
