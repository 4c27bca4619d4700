using MuenBlock.Protocol.Messages;

namespace MuenBlock.Simulation.Tests;

/// <summary>
/// The ublk driver with an application above it, which knows what every sector must hold. It never has two requests under way for one sector,
/// as no file system has.
/// </summary>
internal sealed class Kernel
{
    public const int SlotSize = 8192;

    private readonly Random _random;
    private readonly SharedMemory _memory;
    private readonly Disks _disks;
    private readonly Trace _trace;
    private readonly Io?[] _issued;
    private readonly Queue<uint> _offered = new();
    private readonly Contents[] _contents = [.. Enumerable.Range(0, Drive.All.Length).Select(device => new Contents(device))];
    private readonly bool[][] _busy = [.. Drive.All.Select(drive => new bool[drive.Sectors])];
    private readonly bool[] _flushing = new bool[Drive.All.Length];
    private readonly int[] _promised = [.. Drive.All.Select(drive => drive.SectorsAtFirst)];
    private readonly byte[] _private;
    private readonly bool[] _elsewhere;
    private int _stamp;

    public Kernel(int slots, SharedMemory memory, Disks disks, Random random, Trace trace)
    {
        _random = random;
        _memory = memory;
        _disks = disks;
        _trace = trace;
        _issued = new Io?[slots];
        _private = new byte[slots * SlotSize];
        _elsewhere = new bool[slots];
    }

    /// <param name="Slot">The tag.</param>
    /// <param name="Kind">What.</param>
    /// <param name="Device">Of which.</param>
    /// <param name="Offset">Bytes.</param>
    /// <param name="Length">Bytes.</param>
    /// <param name="Stamp">What a write leaves in each of its sectors.</param>
    internal sealed record Io(uint Slot, RequestKind Kind, int Device, ulong Offset, uint Length, int Stamp)
    {
        public int First => (int)Offset / Drive.Sector;

        public int Sectors => (int)Length / Drive.Sector;

        /// <summary>For a flush: what must be durable when it is acknowledged; null if nothing can be said.</summary>
        public long[]? Settled { get; set; }

        /// <summary>Whether power was cut since it was asked for: it may have been done, and its answer be in the channel, before that.</summary>
        public bool Cut { get; set; }

        /// <summary>Whether a hostile end could change what is written: it lay in the buffer.</summary>
        public bool Tainted { get; set; }
    }

    public int Slots => _issued.Length;

    public int UnderWay { get; private set; }

    /// <summary>I/Os that a client has taken.</summary>
    public int HandedOver => UnderWay - _offered.Count;

    /// <summary>Whether both ends are honest, so that data are what they should be.</summary>
    public bool Trusting { get; set; } = true;

    /// <summary>Sectors that a device has for its users.</summary>
    public int Promised(int device) => _promised[device];

    /// <summary>A device has got larger.</summary>
    public void Grow(int device, int sectors)
    {
        if (sectors > _promised[device]) _trace.Log($"kernel: device {device} grows to {sectors} sectors");
        _promised[device] = Math.Max(_promised[device], sectors);
    }

    public int Acknowledged { get; private set; }

    public int Failed { get; private set; }

    /// <summary>The application asks for something, if a tag and a place are free.</summary>
    public void Issue()
    {
        int slot = Array.IndexOf(_issued, null);
        if (slot < 0) return;
        int device = _random.Next(Drive.All.Length);
        Drive drive = Drive.All[device];
        RequestKind kind = _random.Next(8) switch { 0 => RequestKind.Sync, 1 => RequestKind.Discard, < 5 => RequestKind.Read, _ => RequestKind.Write };
        if (kind == RequestKind.Sync)
        {
            if (_flushing[device]) return;
            _flushing[device] = true;
            Offer(new Io((uint)slot, kind, device, 0, 0, 0) { Settled = _contents[device].Settled() });
            return;
        }

        int unit = drive.SectorsOfBlock;
        int first = _random.Next(_promised[device] / unit) * unit;
        int count = Math.Min(_random.Next(1, (SlotSize / Drive.Sector / unit) + 1) * unit, _promised[device] - first);
        Span<bool> busy = _busy[device].AsSpan(first, count);
        if (busy.Contains(true)) return;
        busy.Fill(true);
        Offer(new Io((uint)slot, kind, device, (ulong)first * Drive.Sector, (uint)(count * Drive.Sector), kind == RequestKind.Write ? ++_stamp : 0));
    }

    /// <summary>The client takes an I/O. What is written is copied to the slot now, as the driver does.</summary>
    public bool TryFetch(out Io io)
    {
        io = null!;
        if (!_offered.TryDequeue(out uint slot)) return false;
        io = _issued[slot]!;
        if (!_elsewhere[slot] && Trusting) Invariants.I2_a_slot_has_one_owner(_disks, slot, "the kernel's to write");
        Span<byte> place = _elsewhere[slot] ? PrivateOf(slot) : SlotOf(slot);
        if (io.Kind == RequestKind.Write) Stamp.Fill(place[..(int)io.Length], io.Stamp);
        else if (!_elsewhere[slot]) Stamp.Fill(place, -1);
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

    /// <summary>Power was cut on the disks' side: what was not flushed may be lost, and of a flush that is under way nothing can be said.</summary>
    public void PowerCut()
    {
        foreach (Contents contents in _contents) contents.PowerCut();
        foreach (Io? io in _issued)
        {
            if (io is null) continue;
            io.Settled = null;
            io.Cut = true;
        }
    }

    /// <summary>An end was hostile until now.</summary>
    public void Distrust()
    {
        foreach (Contents contents in _contents) contents.Distrust();
        foreach (Io? io in _issued)
        {
            if (io is null) continue;
            io.Settled = null;
            io.Tainted = true;
        }
    }

    /// <summary>An I/O ends with an error, and until the next one that ends otherwise the kernel writes what it has to its private memory.</summary>
    public void Abandon(uint slot, int errno)
    {
        End(slot, errno);
        _elsewhere[slot] = true;
    }

    public void Restore(uint slot, uint length)
    {
        if (Trusting) Invariants.I2_a_slot_has_one_owner(_disks, slot, "given back");
        PrivateOf(slot)[..(int)length].CopyTo(SlotOf(slot));
    }

    public void Complete(uint slot, int result)
    {
        if (Trusting) Invariants.I2_a_slot_has_one_owner(_disks, slot, "the kernel's again");
        End(slot, result);
    }

    /// <summary>In the end the disks hold what was acknowledged.</summary>
    public void CheckDisks()
    {
        foreach (Contents contents in _contents) contents.CheckAll(_disks);
    }

    private void End(uint slot, int result)
    {
        Io? io = _issued[slot];
        Invariants.I5_a_request_ends_once_and_whole(io, result);
        _trace.Log($"kernel: {io.Kind} of slot {slot} ends with {result}");
        _elsewhere[slot] = false;
        _issued[slot] = null;
        UnderWay--;
        if (result < 0) Failed++;
        else Acknowledged++;
        if (Trusting && io.Kind != RequestKind.Sync) Invariants.I3_a_read_only_device_is_not_written(io, result);
        if (io.Kind == RequestKind.Sync)
        {
            _flushing[io.Device] = false;
            if (result == 0 && Trusting && io.Settled is not null) _contents[io.Device].Flushed(io.Settled, _disks);
            return;
        }

        Contents contents = _contents[io.Device];
        for (int i = 0; i < io.Sectors; i++)
        {
            _busy[io.Device][io.First + i] = false;
            if (io.Kind == RequestKind.Write && io.Tainted) contents.Distrust(io.First + i);
            else if (io.Kind != RequestKind.Read) contents.End(io.First + i, Drive.All[io.Device].IsReadOnly ? 0 : io.Stamp, result >= 0 && !io.Cut);
            else if (result > 0 && Trusting) contents.Check(io.First + i, Stamp.Of(SlotOf(slot).Slice(i * Drive.Sector, Drive.Sector)));
        }
    }

    private void Offer(Io io)
    {
        _trace.Log($"kernel: {io.Kind} of {io.Length} at {io.Offset} of device {io.Device} in slot {io.Slot}, stamp {io.Stamp}");
        _issued[io.Slot] = io;
        UnderWay++;
        _offered.Enqueue(io.Slot);
        if (io.Kind is not (RequestKind.Write or RequestKind.Discard)) return;

        // What a read-only device is asked to write fails, and leaves nothing.
        for (int i = 0; i < io.Sectors; i++) _contents[io.Device].Begin(io.First + i, Drive.All[io.Device].IsReadOnly ? 0 : io.Stamp);
    }

    private Span<byte> SlotOf(uint slot) => _memory.Buffer.AsSpan((int)slot * SlotSize, SlotSize);

    private Span<byte> PrivateOf(uint slot) => _private.AsSpan((int)slot * SlotSize, SlotSize);
}
