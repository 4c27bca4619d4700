using MuenBlock.Backend.Serving;
using MuenBlock.Protocol.Messages;

namespace MuenBlock.Simulation.Tests;

/// <summary>
/// The disks of a connection, each with a volatile cache. Operations end in any order, late, in part, or with an error. A flush makes durable
/// what had ended when it began. When the power is cut, each sector keeps the durable or any later content.
/// </summary>
internal sealed class Disks(Random random, SharedMemory memory, Trace trace)
{
    private const int LongDelay = 400; // steps: enough for a client to die, be replaced, and write again
    private const int MostPending = 64;
    private const int MostCached = 8;
    private const int Eio = 5; // asm-generic/errno-base.h
    private const int Eintr = 4;
    private const int Eagain = 11;
    private const int Eopnotsupp = 95; // asm-generic/errno.h
    private const int Ecanceled = 125;

    private readonly Operation[] _pending = new Operation[MostPending];
    private readonly Medium[] _media = [.. Drive.All.Select(drive => new Medium(drive.Sectors))];
    private readonly bool[] _otherDiscard = new bool[Drive.All.Length];
    private readonly int[] _sectors = [.. Drive.All.Select(drive => drive.SectorsAtFirst)];
    private int _count;
    private int _dead;
    private long _clock;

    /// <summary>Probability of an error, in thousandths.</summary>
    public int Errors { get; init; }

    /// <summary>I/Os of the server that is there.</summary>
    public int UnderWay => _count - _dead;

    /// <summary>Whether I/O of a server that was killed is still on its way. A successor waits for it: that is what its locks are for.</summary>
    public bool Haunted => _dead > 0;

    public int Shorts { get; private set; }

    /// <summary>How large a disk is at present.</summary>
    public int Sectors(int device) => _sectors[device];

    /// <summary>A disk grows, if it can.</summary>
    /// <returns>Whether it did.</returns>
    public bool Grow(int device)
    {
        int unit = Drive.All[device].SectorsOfBlock;
        int room = (Drive.All[device].Sectors - _sectors[device]) / unit;
        if (room > 0) _sectors[device] += random.Next(1, room + 1) * unit;
        return room > 0;
    }

    public int Content(int device, int sector) => _media[device].Content[sector];

    public int Durable(int device, int sector) => _media[device].Durable[sector];

    /// <summary>Whether any I/O reads or writes a part of a range of the buffer.</summary>
    public bool Touch(ulong offset, ulong length)
    {
        foreach (ref readonly Operation operation in _pending.AsSpan(0, _count))
        {
            if (operation.Kind is not (RequestKind.Read or RequestKind.Write)) continue;
            if (operation.BufferOffset < offset + length && offset < operation.BufferOffset + operation.Length) return true;
        }

        return false;
    }

    public void Start(RequestKind kind, uint slot, int device, ulong offset, ulong length, ulong bufferOffset)
    {
        Invariants.I3_a_disk_is_asked_for_what_is_its_own(kind, device, offset, length, _sectors);
        if (kind is RequestKind.Read or RequestKind.Write) Invariants.I3_a_transfer_stays_in_the_buffer(bufferOffset, length, (ulong)memory.Buffer.Length);
        int delay = random.Next(30) == 0 ? random.Next(LongDelay) : 0;
        _pending[_count++] = new Operation(kind, slot, device, offset, length, bufferOffset, _clock) { Delay = delay, OtherWay = _otherDiscard[device] };
    }

    /// <summary>Ends one operation of the server, whole, in part, or with an error; or none, if the one that was chosen takes longer.</summary>
    public bool TryEnd(out uint slot, out int result)
    {
        int index = random.Next(_count);
        ref Operation chosen = ref _pending[index];
        slot = chosen.Slot;
        result = 0;
        if (chosen.Dead || chosen.Delay-- > 0) return false;
        Operation operation = chosen;
        _pending[index] = _pending[--_count];
        result = Fate(operation);
        trace.Log($"disk {operation.Device}: {operation.Kind} {operation.Length} at {operation.Offset}, buffer {operation.BufferOffset}: {result}");
        return true;
    }

    /// <summary>The server was killed; what it had submitted goes on without it.</summary>
    public void Orphan()
    {
        foreach (ref Operation operation in _pending.AsSpan(0, _count)) operation = operation with { Dead = true };
        _dead = _count;
    }

    /// <summary>Ends one operation of a server that was killed. Nobody hears of it.</summary>
    public void EndDead()
    {
        if (!Haunted) return;
        Operation operation = _pending[--_count];
        _dead--;
        bool done = random.Next(3) > 0;
        trace.Log($"disk {operation.Device}: {operation.Kind} {operation.Length} at {operation.Offset} of a dead server {(done ? "ends" : "is dropped")}");
        if (done) _ = Do(operation);
    }

    /// <summary>The power of the server's machine is cut. What is under way happens or not, and every sector keeps anything from the durable content on.</summary>
    public void CutPower()
    {
        while (Haunted) EndDead();
        foreach (Medium medium in _media)
        {
            for (int sector = 0; sector < medium.Content.Length; sector++)
            {
                List<(long Time, int Value)> cache = medium.Cache[sector];
                int kept = random.Next(cache.Count + 1);
                if (kept > 0) medium.Durable[sector] = cache[kept - 1].Value;
                medium.Content[sector] = medium.Durable[sector];
                cache.Clear();
            }
        }
    }

    public void FallBack(int device) => _otherDiscard[device] = true;

    private int Fate(in Operation operation)
    {
        bool transfer = operation.Kind is RequestKind.Read or RequestKind.Write;
        if (random.Next(1000) < Errors) return transfer && random.Next(8) == 0 ? 0 : -Eio;
        if (random.Next(50) == 0) return random.Next(3) switch { 0 => -Eintr, 1 => -Eagain, _ => -Ecanceled };
        if (operation.Kind == RequestKind.Discard && !operation.OtherWay && operation.Device == 1) return -Eopnotsupp;
        return Do(operation);
    }

    private int Do(in Operation operation)
    {
        Medium medium = _media[operation.Device];
        int length = (int)operation.Length;
        if (operation.Kind is RequestKind.Read or RequestKind.Write && random.Next(8) == 0)
        {
            // A disk ends in the middle only between blocks.
            int block = (int)Drive.All[operation.Device].BlockLength;
            length = random.Next(1, (length / block) + 1) * block;
            if (length < (int)operation.Length) Shorts++;
        }

        int first = (int)operation.Offset / Drive.Sector;
        if (operation.Kind == RequestKind.Sync)
        {
            medium.Flush(operation.Started);
            return 0;
        }

        for (int i = 0; i < length / Drive.Sector; i++)
        {
            Span<byte> place = operation.Kind == RequestKind.Discard ? [] : memory.Buffer.AsSpan((int)operation.BufferOffset + (i * Drive.Sector), Drive.Sector);
            if (operation.Kind == RequestKind.Read) Stamp.Fill(place, medium.Content[first + i]);
            else medium.Put(first + i, operation.Kind == RequestKind.Discard ? 0 : Stamp.Of(place), ++_clock);
        }

        return operation.Kind == RequestKind.Discard ? 0 : length;
    }

    private record struct Operation(RequestKind Kind, uint Slot, int Device, ulong Offset, ulong Length, ulong BufferOffset, long Started)
    {
        public int Delay;

        public bool Dead { get; init; }

        /// <summary>Whether a discard goes the way that every disk knows.</summary>
        public bool OtherWay { get; init; }
    }

    private sealed class Medium(int sectors)
    {
        public int[] Content { get; } = new int[sectors];

        public int[] Durable { get; } = new int[sectors];

        public List<(long Time, int Value)>[] Cache { get; } = [.. Enumerable.Range(0, sectors).Select(_ => new List<(long, int)>(MostCached + 1))];

        public void Put(int sector, int value, long time)
        {
            Content[sector] = value;
            Cache[sector].Add((time, value));
            if (Cache[sector].Count > MostCached) Keep(sector, 1);
        }

        public void Flush(long time)
        {
            for (int sector = 0; sector < Content.Length; sector++) Keep(sector, Cache[sector].FindLastIndex(entry => entry.Time <= time) + 1);
        }

        private void Keep(int sector, int count)
        {
            if (count == 0) return;
            Durable[sector] = Cache[sector][count - 1].Value;
            Cache[sector].RemoveRange(0, count);
        }
    }
}

/// <summary>The disks as a serving machine's.</summary>
internal readonly struct DiskQueue(Disks disks) : IDiskQueue
{
    public void Read(uint slot, int device, ulong offset, uint length, ulong bufferOffset) => disks.Start(RequestKind.Read, slot, device, offset, length, bufferOffset);

    public void Deliver(ulong bufferOffset, uint length)
    {
        // The disks read to the buffer itself.
    }

    public void Write(uint slot, int device, ulong offset, uint length, ulong bufferOffset) => disks.Start(RequestKind.Write, slot, device, offset, length, bufferOffset);

    public void Discard(uint slot, int device, ulong offset, ulong length) => disks.Start(RequestKind.Discard, slot, device, offset, length, 0);

    public bool FallBackToOtherDiscard(int device)
    {
        disks.FallBack(device);
        return true;
    }

    public void ReadSmart(uint slot, int device, ulong bufferOffset) => throw new InvalidOperationException("the disks have no SMART data");

    public bool EndsBefore(int device, ulong end) => false;

    public void Flush(uint slot, int device) => disks.Start(RequestKind.Sync, slot, device, 0, 0, 0);

    public int EndFlush(int device, int result, bool isAnswered) => result;
}
