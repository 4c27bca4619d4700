using MuenBlock.Backend.Serving;
using MuenBlock.Protocol.Messages;

namespace MuenBlock.Simulation.Tests;

/// <summary>A disk with a volatile cache. Operations end in any order; a flush makes durable what had ended when it ends.</summary>
internal sealed class Disk(Random random, int size, byte[] buffer)
{
    private const int LongDelay = 400; // steps: enough for a client to die, be replaced, and write again

    private readonly List<Operation> _pending = [];

    private sealed record Operation(RequestKind Kind, uint Slot, ulong Offset, ulong Length, ulong BufferOffset)
    {
        public int Delay { get; set; }
    }

    /// <summary>Probability of an error, in thousandths.</summary>
    public int Errors { get; init; }

    public byte[] Content { get; } = new byte[size];

    public byte[] Durable { get; } = new byte[size];

    public bool Busy => _pending.Count > 0;

    public void Start(RequestKind kind, uint slot, ulong offset, ulong length, ulong bufferOffset) =>
        _pending.Add(new Operation(kind, slot, offset, length, bufferOffset) { Delay = random.Next(30) == 0 ? random.Next(LongDelay) : 0 });

    /// <summary>Ends one operation, whole, in part, or with an error; or none, if the one that was chosen takes longer.</summary>
    public (uint Slot, int Result)? Step()
    {
        int index = random.Next(_pending.Count);
        Operation operation = _pending[index];
        if (operation.Delay-- > 0) return null;
        _pending.RemoveAt(index);
        if (random.Next(1000) < Errors) return (operation.Slot, -5);
        if (random.Next(50) == 0) return (operation.Slot, -4);
        return (operation.Slot, Do(operation));
    }

    /// <summary>
    /// The server was killed: what was on its way ends in some way, but before a successor begins, which is what its lock on the disk is for.
    /// </summary>
    public void Orphan()
    {
        foreach (Operation operation in _pending)
        {
            if (operation.Kind == RequestKind.Write && random.Next(2) == 0) _ = Do(operation);
        }

        _pending.Clear();
    }

    private int Do(Operation operation)
    {
        const int block = 512;
        int length = (int)operation.Length;
        if (operation.Kind is RequestKind.Read or RequestKind.Write && random.Next(10) == 0) length = random.Next(1, (length / block) + 1) * block;
        Span<byte> place = Content.AsSpan((int)operation.Offset, length);
        switch (operation.Kind)
        {
            case RequestKind.Read:
                place.CopyTo(buffer.AsSpan((int)operation.BufferOffset));
                return length;
            case RequestKind.Write:
                buffer.AsSpan((int)operation.BufferOffset, length).CopyTo(place);
                return length;
            case RequestKind.Discard:
                place.Clear();
                return 0;
            default:
                Content.CopyTo(Durable, 0);
                return 0;
        }
    }
}

/// <summary>The disk as a serving machine's.</summary>
internal readonly struct DiskQueue(Disk disk) : IDiskQueue
{
    public void Read(uint slot, int device, ulong offset, uint length, ulong bufferOffset) => disk.Start(RequestKind.Read, slot, offset, length, bufferOffset);

    public void Deliver(ulong bufferOffset, uint length)
    {
        // The disks read to the buffer itself.
    }

    public void Write(uint slot, int device, ulong offset, uint length, ulong bufferOffset) => disk.Start(RequestKind.Write, slot, offset, length, bufferOffset);

    public void Discard(uint slot, int device, ulong offset, ulong length) => disk.Start(RequestKind.Discard, slot, offset, length, 0);

    public bool FallBackToOtherDiscard(int device) => false;

    public void ReadSmart(uint slot, int device, ulong bufferOffset) => throw new InvalidOperationException("the disk has no SMART data");

    public bool EndsBefore(int device, ulong end) => false;

    public void Flush(uint slot, int device) => disk.Start(RequestKind.Sync, slot, 0, 0, 0);
}
