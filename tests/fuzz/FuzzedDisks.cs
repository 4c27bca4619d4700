using MuenBlock.Backend.Serving;
using MuenBlock.Protocol.Messages;

namespace MuenBlock.Fuzz;

/// <summary>An I/O that a serving machine has started.</summary>
internal readonly record struct DiskOperation(RequestKind Kind, uint Slot, int Device, ulong Offset, ulong Length, ulong BufferOffset)
{
    public bool IsTransfer => Kind is RequestKind.Read or RequestKind.Write;

    public bool HasRange => IsTransfer || Kind == RequestKind.Discard;
}

/// <summary>
/// Disks that keep nothing and let each I/O end as the input wants it. They check that every I/O is allowed: within the device, in
/// whole blocks, within the buffer, one per slot, and, where a slot has done a part, exactly the part that is left.
/// </summary>
internal sealed class FuzzedDisks(ServedDevice[] devices, ulong bufferLength, int slots, Action<DiskOperation> started)
{
    private const int NotBegun = -125; // ECANCELED, asm-generic/errno.h: the machine repeats that after a pause, however often

    private readonly List<DiskOperation> _pending = [];
    private readonly Dictionary<uint, DiskOperation> _paused = [];
    private readonly HashSet<int> _withoutDiscard = [];
    private readonly ulong[] _done = new ulong[slots];
    private DiskOperation _ending;
    private ulong _step;
    private ulong _delivered;

    public int Pending => _pending.Count;

    /// <summary>Whether an I/O is ending whose request was not answered yet.</summary>
    public bool Ending { get; private set; }

    /// <summary>How much of the request whose I/O is ending has been done, in all its steps.</summary>
    public ulong Done => _done[_ending.Slot];

    public void Start(in DiskOperation operation)
    {
        ServedDevice device = devices[operation.Device];
        foreach (DiskOperation other in _pending) Rules.Require(other.Slot != operation.Slot, $"{operation} has a slot to itself");
        bool wasPaused = _paused.Remove(operation.Slot, out DiskOperation paused);
        if (operation.HasRange)
        {
            // After a disk has done a part of a block, as none should, what is left is no longer of whole blocks.
            ulong mask = device.BlockLength - 1;
            bool even = ((operation.Length | operation.Offset) & mask) == 0 || ((wasPaused || Ending) && (_done[operation.Slot] & mask) != 0);
            Rules.Require(operation.Length > 0 && even, $"{operation} is of whole blocks");
            Rules.Require((UInt128)operation.Offset + operation.Length <= device.Size, $"{operation} lies on the device");
            Rules.Require(operation.Kind == RequestKind.Read || !device.IsReadOnly, $"{operation} leaves a device alone that is read only");
        }

        if (operation.IsTransfer || operation.Kind == RequestKind.GetSmart)
            Rules.Require((UInt128)operation.BufferOffset + operation.Length <= bufferLength, $"{operation} lies in the buffer");
        if (wasPaused) Rules.Require(operation == paused, $"{paused} was not begun, and is repeated as it was, not as {operation}");
        else if (Ending && _ending.Slot == operation.Slot) CheckContinuation(operation);
        else started(operation);
        _pending.Add(operation);
    }

    /// <summary>So much of a read was put in the buffer.</summary>
    public void Deliver(ulong bufferOffset, uint length)
    {
        Rules.Require(Ending && _ending.Kind == RequestKind.Read && bufferOffset == _ending.BufferOffset, "what was read is delivered, where it was read to");
        _delivered = length;
    }

    public bool FallBackToOtherDiscard(int device)
    {
        const int image = 1; // one way is all that it has
        if (device == image) _withoutDiscard.Add(device);
        return device != image;
    }

    /// <summary>Whether a disk has said that it knows no discards in any way.</summary>
    public bool KnowsNoDiscard(int device) => _withoutDiscard.Contains(device);

    public bool EndsBefore(int device, ulong end) => devices[device].Size < end;

    /// <summary>The request of the I/O that is ending was answered: its slot is free.</summary>
    public void Answered()
    {
        Ending = false;
        _done[_ending.Slot] = 0;
    }

    /// <summary>Ends one of the operations.</summary>
    /// <param name="index">Which of those that are pending.</param>
    /// <param name="result">The bytes that were done, or a negative errno: any number.</param>
    /// <param name="complete">Tells the machine.</param>
    public void End(int index, int result, Action<uint, int> complete)
    {
        DiskOperation ending = _ending = _pending[index];
        _pending.RemoveAt(index);
        ulong step = _step = ending.IsTransfer && result > 0 ? Math.Min((ulong)result, ending.Length) : 0;
        _done[ending.Slot] += step;
        _delivered = 0;
        Ending = true;
        const int statuses = 3; // of SMART data, which has no length and no errno
        complete(ending.Slot, ending.Kind == RequestKind.GetSmart ? result & statuses : result);
        Rules.Require(_delivered == (ending.Kind == RequestKind.Read ? step : 0), $"{step} bytes were read and {_delivered} delivered");

        bool isPaused = ending.Kind != RequestKind.GetSmart && result == NotBegun;
        Rules.Require(Ending || !isPaused, $"{ending} was not begun, and has no answer");

        // A request of a session that is over ends without an answer.
        if (isPaused) _paused.Add(ending.Slot, ending);
        else if (Ending && !_pending.Exists(operation => operation.Slot == ending.Slot)) Answered();
        Ending = false;
    }

    private void CheckContinuation(in DiskOperation operation)
    {
        DiskOperation expected = _ending with
        {
            Offset = _ending.Offset + _step,
            Length = _ending.Length - _step,
            BufferOffset = _ending.BufferOffset + _step,
        };
        Rules.Require(operation == expected, $"{_ending} goes on with {expected}, not with {operation}");
    }
}
