using System.Runtime.CompilerServices;

namespace MuenBlock.Protocol.Channels;

/// <summary>
/// The writing end of a Muen channel (SHMStream v2, docs/wire-format.md, "Channel"). Packets are composed in place in shared memory, as many
/// as wanted, and become visible together:
/// <list type="number">
/// <item>wsc := n + k says that the slots up to n + k - 1 are being overwritten;</item>
/// <item>store-store barrier, pairs with the reader's load-load barrier between its copy and its load of wsc;</item>
/// <item>the packets are written;</item>
/// <item>wc := n + k, with release, pairs with the reader's acquiring load of wc.</item>
/// </list>
/// A writer never blocks and never learns what was read. Whoever uses it bounds what is in flight.
/// One thread at a time may use an instance.
/// </summary>
/// <typeparam name="T">The packet.</typeparam>
public sealed unsafe class ChannelWriter<T>
    where T : unmanaged
{
    // Half of a large batch. With 8 at a time the two ends take the cache lines of the counters from each other all the time (bench/micro --channel).
    private const uint Worthwhile = 32;

    private readonly ChannelHeader* _header;
    private readonly T* _packets;
    private readonly ulong _length;
    private readonly ulong _protocol;
    private readonly uint _elements;
    private ulong _written;
    private uint _slot;
    private uint _open;
    private ulong _leastStart;
    private ulong _epoch;

    /// <summary>Creates the writer. The memory is not touched before <see cref="Initialise"/>.</summary>
    /// <param name="memory">The region, mapped for writing. It outlives the writer.</param>
    /// <param name="length">The region's size in bytes: at least a header and one packet.</param>
    /// <param name="protocol">The protocol id that the reader expects, not 0.</param>
    public ChannelWriter(byte* memory, nuint length, ulong protocol)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentOutOfRangeException.ThrowIfLessThan(length, (nuint)(ChannelHeader.Size + sizeof(T)));
        ArgumentOutOfRangeException.ThrowIfZero(protocol);
        _header = (ChannelHeader*)memory;
        _packets = (T*)(memory + ChannelHeader.Size);
        _length = length;
        _protocol = protocol;
        _elements = ChannelHeader.ElementsIn(length, sizeof(T));
    }

    /// <summary>Packets that the ring holds.</summary>
    public uint Elements => _elements;

    /// <summary>Packets published since <see cref="Initialise"/>.</summary>
    public ulong Written => _written;

    /// <summary>Packets composed and not yet published.</summary>
    public uint Open => _open;

    /// <summary>Whether so many packets are composed that it pays to publish them before the rest of the batch: the reader begins with them meanwhile.</summary>
    public bool IsWorthPublishing => _open >= Worthwhile;

    /// <summary>Whether <see cref="ExpireFirst"/> was called since <see cref="Initialise"/>.</summary>
    public bool FirstExpired => _leastStart != 0;

    /// <summary>
    /// Whether the header still says what this writer stored. Whoever may write to the region can have changed it, or have
    /// truncated the file and made it whole again; then no reader finds the channel before the next <see cref="Initialise"/>.
    /// </summary>
    public bool IsIntact =>
        Volatile.Read(ref _header->Epoch) == _epoch
        && _header->Transport == ChannelHeader.Marker
        && _header->Protocol == _protocol
        && _header->PacketSize == (ulong)sizeof(T)
        && _header->Elements == _elements
        && Volatile.Read(ref _header->Written) == _written;

    internal ChannelHeader* Header => _header;

    /// <summary>
    /// Begins a new epoch: readers drop what they had. The caller then wakes the reader unconditionally, as no wake hint
    /// covers a change of epoch (docs/wire-format.md, "Our extensions").
    /// </summary>
    /// <param name="epoch">A value not used before on this channel and not 0; random 64 bits are.</param>
    public void Initialise(ulong epoch)
    {
        ArgumentOutOfRangeException.ThrowIfZero(epoch);
        Volatile.Write(ref _header->Epoch, 0);

        // The reader must see the channel inactive before anything in it changes. Pairs with its second look at the epoch.
        Interlocked.MemoryBarrier();
        new Span<byte>((byte*)_header + sizeof(ulong) * 2, (int)Math.Min(_length, int.MaxValue) - sizeof(ulong) * 2).Clear();
        _header->Transport = ChannelHeader.Marker;
        _header->Protocol = _protocol;
        _header->PacketSize = (ulong)sizeof(T);
        _header->Elements = _elements;
        _written = 0;
        _slot = 0;
        _open = 0;
        _leastStart = 0;
        _epoch = epoch;

        // Pairs with the reader's acquiring load of the epoch: whoever sees it sees the header.
        Volatile.Write(ref _header->Epoch, epoch);
    }

    /// <summary>The slot of the next packet, in shared memory. It holds an old packet: the caller sets every field.</summary>
    /// <returns>A reference that is valid until the next call.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ref T Next()
    {
        // wsc is stored before each packet and never runs ahead of what is being written: a batch that ends early overstates nothing.
        Volatile.Write(ref _header->WriteStart, Math.Max(_written + ++_open, _leastStart));

        // Pairs with the reader's load-load barrier: a reader that saw a byte of this packet sees this wsc.
        Volatile.WriteBarrier();
        ref T packet = ref _packets[_slot];
        _slot = _slot + 1 == _elements ? 0 : _slot + 1;
        return ref packet;
    }

    /// <summary>Makes the composed packets visible.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Publish()
    {
        _written += _open;
        _open = 0;

        // Pairs with the reader's acquiring load of wc: whoever sees the count sees the packets.
        Volatile.Write(ref _header->Written, _written);
    }

    /// <summary>Takes back the composed packets that were not published.</summary>
    public void Withdraw()
    {
        _slot = (uint)((_slot + (ulong)_elements - (_open % _elements)) % _elements);
        _open = 0;
    }

    /// <summary>
    /// Declares the first packet of this epoch overwritten, as if the ring had gone round once. A reader that has read it does not
    /// notice; one that is new finds an overrun and so passes over everything that was written for its predecessor, instead of
    /// taking it for its own.
    /// </summary>
    public void ExpireFirst()
    {
        _leastStart = _elements + 1ul;
        if (_written + _open < _leastStart) Volatile.Write(ref _header->WriteStart, _leastStart);
    }

    /// <summary>Ends the epoch: readers find the channel inactive.</summary>
    public void Deactivate()
    {
        _open = 0;
        _epoch = 0;
        Volatile.Write(ref _header->Epoch, 0);
    }
}
