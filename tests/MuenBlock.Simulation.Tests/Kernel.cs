using System.Buffers.Binary;
using MuenBlock.Protocol.Messages;
using Xunit;

namespace MuenBlock.Simulation.Tests;

/// <summary>
/// The ublk driver with an application above it, which knows what every block must hold: what the last write to it that was
/// acknowledged left there. It never has two requests under way for one block, as no file system has.
/// </summary>
internal sealed class Kernel
{
    public const int SlotSize = 2048;
    private const int Block = 512;
    private const int Unknown = -1;

    private readonly Random _random;
    private readonly SharedMemory _memory;
    private readonly Disk _disk;
    private readonly Io?[] _issued;
    private readonly Queue<uint> _offered = new();
    private readonly int[] _expected;

    // What a block may hold whose last write failed: what it held, or what any write since would have left.
    private readonly HashSet<int>[] _allowed;
    private readonly byte[] _private;
    private readonly bool[] _elsewhere;
    private readonly bool[] _busy;
    private int _stamp;
    private bool _flushing;

    public Kernel(int slots, int blocks, SharedMemory memory, Disk disk, Random random)
    {
        _random = random;
        _memory = memory;
        _disk = disk;
        _issued = new Io?[slots];
        _private = new byte[slots * SlotSize];
        _elsewhere = new bool[slots];
        _expected = new int[blocks];
        _allowed = [.. Enumerable.Range(0, blocks).Select(_ => new HashSet<int>())];
        _busy = new bool[blocks];
    }

    /// <param name="Slot">The tag.</param>
    /// <param name="Kind">What.</param>
    /// <param name="Offset">Bytes.</param>
    /// <param name="Length">Bytes.</param>
    /// <param name="Stamp">What a write leaves in each of its blocks.</param>
    /// <param name="Durable">For a flush: what must be durable when it is acknowledged.</param>
    internal sealed record Io(uint Slot, RequestKind Kind, ulong Offset, uint Length, int Stamp, int[]? Durable);

    public int Slots => _issued.Length;

    public int UnderWay => _issued.Count(io => io is not null);

    public int Acknowledged { get; private set; }

    public int Failed { get; private set; }

    /// <summary>The application asks for something, if a tag and a place are free.</summary>
    public void Issue()
    {
        int slot = Array.IndexOf(_issued, null);
        if (slot < 0) return;
        int first = _random.Next(_expected.Length);
        int count = Math.Min(_random.Next(1, (SlotSize / Block) + 1), _expected.Length - first);
        RequestKind kind = _random.Next(8) switch { 0 => RequestKind.Sync, 1 => RequestKind.Discard, < 5 => RequestKind.Read, _ => RequestKind.Write };
        if (kind == RequestKind.Sync)
        {
            if (_flushing) return;
            _flushing = true;

            // What was acknowledged by now, and may not be changed meanwhile, must be durable in the end.
            int[] durable = [.. _expected.Select((stamp, block) => _busy[block] ? Unknown : stamp)];
            Offer(new Io((uint)slot, kind, 0, 0, 0, durable));
            return;
        }

        if (_busy.AsSpan(first, count).Contains(true)) return;
        _busy.AsSpan(first, count).Fill(true);
        Offer(new Io((uint)slot, kind, (ulong)first * Block, (uint)(count * Block), kind == RequestKind.Write ? ++_stamp : 0, null));
    }

    /// <summary>The server takes a request. What is written is copied to the slot now, as the driver does.</summary>
    public bool TryFetch(out Io io)
    {
        io = null!;
        if (!_offered.TryDequeue(out uint slot)) return false;
        io = _issued[slot]!;
        Span<byte> place = _elsewhere[slot] ? PrivateOf(slot) : SlotOf(slot);
        if (io.Kind == RequestKind.Write) Fill(place[..(int)io.Length], io.Stamp);
        else place.Fill(0xee);
        return true;
    }

    /// <summary>The client died and another recovers: everything that was not acknowledged is offered again.</summary>
    public void Reissue()
    {
        _offered.Clear();
        _elsewhere.AsSpan().Clear();
        foreach (Io? io in _issued)
        {
            if (io is not null) _offered.Enqueue(io.Slot);
        }
    }

    /// <summary>An I/O ends with an error, and until the next one that ends otherwise the kernel writes what it has to its private memory.</summary>
    public void Abandon(uint slot, int errno)
    {
        Complete(slot, errno);
        _elsewhere[slot] = true;
    }

    public void Restore(uint slot, uint length)
    {
        Assert.True(_elsewhere[slot], "what is in the slot was overwritten");
        PrivateOf(slot)[..(int)length].CopyTo(SlotOf(slot));
    }

    public void Complete(uint slot, int result)
    {
        _elsewhere[slot] = false;
        Io io = _issued[slot] ?? throw new InvalidOperationException($"slot {slot} was completed although nothing is under way in it");
        Assert.True(result < 0 || result == (io.Kind is RequestKind.Read or RequestKind.Write ? (int)io.Length : 0), $"a {io.Kind} of {io.Length} bytes ended with {result}");
        _issued[slot] = null;
        if (result < 0) Failed++;
        else Acknowledged++;
        if (io.Kind == RequestKind.Sync)
        {
            _flushing = false;
            if (result == 0) CheckDurable(io.Durable!);
            return;
        }

        for (uint done = 0; done < io.Length; done += Block)
        {
            int block = (int)((io.Offset + done) / Block);
            _busy[block] = false;
            int found = Stamp(SlotOf(slot).Slice((int)done, Block));
            if (io.Kind == RequestKind.Read && result > 0) Check(block, found, "reads");
            if (io.Kind is not (RequestKind.Write or RequestKind.Discard)) continue;
            if (result >= 0)
            {
                _expected[block] = io.Stamp;
                _allowed[block].Clear();
                continue;
            }

            _ = _allowed[block].Add(io.Stamp);
            if (_expected[block] != Unknown) _ = _allowed[block].Add(_expected[block]);
            _expected[block] = Unknown;
        }
    }

    /// <summary>In the end the disk holds what was acknowledged.</summary>
    public void CheckDisk()
    {
        for (int block = 0; block < _expected.Length; block++)
        {
            Check(block, Stamp(_disk.Content.AsSpan(block * Block, Block)), "of the disk holds");
        }
    }

    private void Check(int block, int found, string what)
    {
        if (_expected[block] == Unknown) Assert.True(_allowed[block].Contains(found), $"block {block} {what} {found}, of a write that was not its own");
        else Assert.True(found == _expected[block], $"block {block} {what} {found} instead of {_expected[block]}");
    }

    private void CheckDurable(int[] durable)
    {
        for (int block = 0; block < durable.Length; block++)
        {
            // A later write may have become durable as well: stamps only grow, and a discard leaves zero.
            int found = Stamp(_disk.Durable.AsSpan(block * Block, Block));
            if (durable[block] == Unknown || _busy[block] || _expected[block] != durable[block]) continue;
            Assert.True(found == durable[block], $"block {block} has {found} durable instead of {durable[block]} after a flush");
        }
    }

    private void Offer(Io io)
    {
        _issued[io.Slot] = io;
        _offered.Enqueue(io.Slot);
    }

    private Span<byte> SlotOf(uint slot) => _memory.Buffer.AsSpan((int)slot * SlotSize, SlotSize);

    private Span<byte> PrivateOf(uint slot) => _private.AsSpan((int)slot * SlotSize, SlotSize);

    private static void Fill(Span<byte> bytes, int stamp)
    {
        for (int i = 0; i < bytes.Length; i += sizeof(int)) BinaryPrimitives.WriteInt32LittleEndian(bytes[i..], stamp);
    }

    private static int Stamp(ReadOnlySpan<byte> block)
    {
        int first = BinaryPrimitives.ReadInt32LittleEndian(block);
        for (int i = sizeof(int); i < block.Length; i += sizeof(int))
            Assert.True(BinaryPrimitives.ReadInt32LittleEndian(block[i..]) == first, "a block is torn");
        return first;
    }
}
