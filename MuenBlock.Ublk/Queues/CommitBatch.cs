using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using MuenBlock.Protocol.Regions;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Queues;

/// <summary>A result of a tag, and where the driver copies to and from in the tag's next request: 16 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct BatchElement
{
    /// <summary>Tag and result.</summary>
    public ElementHeader Header;

    /// <summary>The address, not 0.</summary>
    public ulong Address;
}

/// <summary>
/// The results of a queue that go to the driver together (UBLK_U_IO_COMMIT_IO_CMDS). While the driver has one array, results that come
/// gather in another. The driver takes an array from its beginning up to the first element that it refuses, and says how many bytes it
/// took: what is behind a refused element is sent again. Everything is allocated at start (I4).
/// </summary>
internal sealed unsafe class CommitBatch : IDisposable
{
    private readonly int _capacity;
    private BatchElement* _gathering;
    private BatchElement* _sent;
    private int _gathered;
    private int _first;
    private int _end;

    /// <summary>Makes the arrays.</summary>
    /// <param name="depth">Tags of the queue: a tag has one result at a time.</param>
    public CommitBatch(int depth)
    {
        _capacity = depth;
        _gathering = Allocate(depth);
        _sent = Allocate(depth);
    }

    /// <summary>Whether the driver has an array, of which it has not said what became of it.</summary>
    public bool IsUnderWay { get; private set; }

    /// <summary>Whether there is something to send and the driver may get it.</summary>
    public bool IsDue => !IsUnderWay && (_gathered > 0 || _first < _end);

    /// <summary>Whether nothing is gathered, under way or to be sent again.</summary>
    public bool IsEmpty => !IsUnderWay && !IsDue;

    /// <summary>Adds a result.</summary>
    /// <param name="tag">The tag, which has no other result here.</param>
    /// <param name="result">Its result.</param>
    /// <param name="address">Where the driver copies to and from next.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add(ushort tag, int result, ulong address)
    {
        if (_gathered >= _capacity) throw new InvalidOperationException("a tag has two results");
        _gathering[_gathered++] = new BatchElement { Header = new ElementHeader { Tag = tag, Result = result }, Address = address };
    }

    /// <summary>Begins to send: what is left of the array before, or what was gathered.</summary>
    /// <param name="count">Elements.</param>
    /// <returns>The first of them. They stay as they are until <see cref="Complete"/>.</returns>
    public BatchElement* Send(out int count)
    {
        if (_first == _end)
        {
            BatchElement* spare = _sent;
            _sent = _gathering;
            _gathering = spare;
            (_first, _end, _gathered) = (0, _gathered, 0);
        }

        IsUnderWay = true;
        count = _end - _first;
        return _sent + _first;
    }

    /// <summary>Takes note of what the driver made of what was sent.</summary>
    /// <param name="result">The bytes that it took, or a negative errno for the first element.</param>
    /// <param name="refused">The element that it refused, if there is one.</param>
    /// <returns>How many elements it took, and whether it refused the one behind them.</returns>
    public (int Taken, bool Refused) Complete(int result, out BatchElement refused)
    {
        int taken = Math.Clamp(result / sizeof(BatchElement), 0, _end - _first);
        _first += taken;
        IsUnderWay = false;

        // A part means that the next one was refused: it is told of when it is the first. To take nothing is to refuse.
        bool isRefused = taken == 0 && _first < _end;
        refused = isRefused ? _sent[_first++] : default;
        return (taken, isRefused);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        NativeMemory.AlignedFree(_gathering);
        NativeMemory.AlignedFree(_sent);
        _gathering = _sent = null;
        _gathered = _first = _end = 0;
    }

    private static BatchElement* Allocate(int count) => (BatchElement*)NativeMemory.AlignedAlloc((nuint)count * (nuint)sizeof(BatchElement), Region.PageSize);
}
