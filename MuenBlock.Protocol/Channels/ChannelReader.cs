using System.Runtime.CompilerServices;

namespace MuenBlock.Protocol.Channels;

/// <summary>
/// The reading end of a Muen channel (SHMStream v2, docs/wire-format.md, "Channel"). The writer is not trusted: whatever it does to the memory,
/// a read looks only at this channel's bytes, does a bounded amount of work, does not throw, and finds a new epoch later.
/// <list type="number">
/// <item>The epoch is loaded with acquire; 0 is an inactive channel, a new one is checked against what is expected and
/// against the size of the mapping. The header's size and number of elements are only compared: what is used are this reader's own.</item>
/// <item>wc is loaded with acquire (pairs with the writer's release): so many packets may be copied.</item>
/// <item>They are copied to the caller's memory.</item>
/// <item>Load-load barrier, then the epoch, the counters and the epoch again: had the writer begun anew, or begun to overwrite
/// the oldest of them (wsc), all are dropped.</item>
/// </list>
/// A writer that begins anew under the epoch that it had, as the original's native client does, is known by counters that run backwards.
/// One thread at a time may use an instance.
/// </summary>
/// <typeparam name="T">The packet.</typeparam>
public sealed unsafe class ChannelReader<T>
    where T : unmanaged
{
    private readonly ChannelHeader* _header;
    private readonly T* _packets;
    private readonly ulong _protocol;
    private readonly uint _elements;
    private ulong _epoch;
    private ulong _seenEpoch;
    private ulong _read;
    private uint _slot;

    /// <summary>Creates the reader, not yet synchronised. The memory is not touched.</summary>
    /// <param name="memory">The region, mapped for reading at least. It outlives the reader.</param>
    /// <param name="length">The region's size in bytes: at least a header and one packet.</param>
    /// <param name="protocol">The protocol id that the writer must have.</param>
    public ChannelReader(byte* memory, nuint length, ulong protocol)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentOutOfRangeException.ThrowIfLessThan(length, (nuint)(ChannelHeader.Size + sizeof(T)));
        _header = (ChannelHeader*)memory;
        _packets = (T*)(memory + ChannelHeader.Size);
        _protocol = protocol;
        _elements = ChannelHeader.ElementsIn(length, sizeof(T));
    }

    /// <summary>Packets that the ring holds.</summary>
    public uint Elements => _elements;

    /// <summary>Whether the writer's epoch is known and its header was found good.</summary>
    public bool Synchronised => _epoch != 0;

    /// <summary>The writer's epoch, as it was last looked at; 0 while the channel is inactive. A diagnosis, not a check.</summary>
    public ulong Epoch => _seenEpoch;

    /// <summary>wc: packets that the writer says it has written. A diagnosis, not a check.</summary>
    public ulong Written => Volatile.Read(ref _header->Written);

    /// <summary>
    /// Whether the writer has begun anew since the last <see cref="Read"/>, or has ended its epoch: what was read before belongs to a
    /// session that is over. Two plain loads.
    /// </summary>
    public bool BeganAnew
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Volatile.Read(ref _header->Epoch) != _seenEpoch || (_epoch != 0 && Volatile.Read(ref _header->Written) < _read);
    }

    /// <summary>rc: packets read or passed over in this epoch.</summary>
    public ulong Count => _read;

    /// <summary>
    /// Whether the next <see cref="Read"/> would find anything new: packets or another epoch. Two plain loads, and up to four more while the header is
    /// refused; made for spinning. A refused header is looked at as a writer that always uses the same epoch, as the original's native ones do, may have
    /// mended it.
    /// </summary>
    public bool HasNews
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Volatile.Read(ref _header->Epoch) != _seenEpoch || (_epoch != 0 ? Volatile.Read(ref _header->Written) != _read : _seenEpoch != 0 && IsAsExpected);
    }

    private bool IsAsExpected =>
        Volatile.Read(ref _header->Transport) == ChannelHeader.Marker
        && Volatile.Read(ref _header->Protocol) == _protocol
        && Volatile.Read(ref _header->PacketSize) == (ulong)sizeof(T)
        && Volatile.Read(ref _header->Elements) == _elements;

    internal ChannelHeader* Header => _header;

    /// <summary>Why the header is not what this reader expects, in words; for a log line after <see cref="ReadStatus.Incompatible"/>.</summary>
    /// <returns>One phrase.</returns>
    public string DescribeHeader() =>
        $"found marker 0x{Volatile.Read(ref _header->Transport):x}, protocol {Volatile.Read(ref _header->Protocol):x}, " +
        $"{Volatile.Read(ref _header->Elements)} packets of {Volatile.Read(ref _header->PacketSize)} bytes; " +
        $"expected marker 0x{ChannelHeader.Marker:x}, protocol {_protocol:x}, {_elements} packets of {sizeof(T)} bytes";

    /// <summary>Copies packets out of the channel.</summary>
    /// <param name="destination">Private memory for the packets; its length bounds the batch.</param>
    /// <param name="count">How many were copied: 0 unless <see cref="ReadStatus.Success"/>, and after it if the destination is empty.</param>
    /// <returns>What was found. Only after <see cref="ReadStatus.Success"/> may a packet be used.</returns>
    public ReadStatus Read(Span<T> destination, out int count)
    {
        count = 0;

        // Acquire, pairs with the writer's release of the epoch: the header is complete if the epoch is there.
        ulong epoch = Volatile.Read(ref _header->Epoch);
        if (epoch != _epoch || epoch == 0) return Synchronise(epoch);

        // Acquire, pairs with the writer's release of wc: packets up to it are complete.
        ulong written = Volatile.Read(ref _header->Written);
        if (written == _read) return ReadStatus.NoData;
        if (written < _read)
        {
            // Counters never run backwards within an epoch; but a peer that always uses the same epoch looks like this after its restart.
            return BeginAgain();
        }

        ulong available = written - _read;
        if (available > _elements) return Lose(written);
        int wanted = (int)Math.Min(available, (ulong)destination.Length);
        int untilEnd = (int)Math.Min((uint)wanted, _elements - _slot);
        new ReadOnlySpan<T>(_packets + _slot, untilEnd).CopyTo(destination);
        new ReadOnlySpan<T>(_packets, wanted - untilEnd).CopyTo(destination[untilEnd..]);

        // Pairs with the writer's store-store barrier: if a copied byte is of a later lap, so is the wsc that is loaded now.
        // The epoch is loaded before the counters, too: if it is that of a new beginning, so are they, even where it has the same value.
        Volatile.ReadBarrier();
        ulong between = Volatile.Read(ref _header->Epoch);
        ulong started = Volatile.Read(ref _header->WriteStart);
        ulong stillWritten = Volatile.Read(ref _header->Written);
        ulong after = Volatile.Read(ref _header->Epoch);
        if (between != epoch || after != epoch) return Synchronise(after);
        if (stillWritten < written || started < _read) return BeginAgain();
        if (started - _read > _elements) return Lose(stillWritten);

        Advance((uint)wanted);
        count = wanted;
        return ReadStatus.Success;
    }

    /// <summary>Passes over everything that has been written so far in this epoch.</summary>
    public void Drain()
    {
        if (_epoch != 0) SkipTo(Volatile.Read(ref _header->Written));
    }

    /// <summary>Forgets the writer: whatever epoch the channel has is a new one.</summary>
    public void Forget()
    {
        _epoch = _seenEpoch = 0;
        Rewind();
    }

    private ReadStatus Synchronise(ulong epoch)
    {
        _epoch = 0;
        _seenEpoch = epoch;
        if (epoch == 0) return ReadStatus.Inactive;
        bool good = IsAsExpected;

        // Pairs with the barrier in the writer's initialisation: an unchanged epoch means that the header was read whole.
        Volatile.ReadBarrier();
        if (Volatile.Read(ref _header->Epoch) != epoch)
        {
            _seenEpoch = 0;
            return ReadStatus.Inactive;
        }

        if (!good) return ReadStatus.Incompatible;
        _epoch = epoch;
        Rewind();
        return ReadStatus.NewEpoch;
    }

    private ReadStatus BeginAgain()
    {
        Rewind();
        return ReadStatus.NewEpoch;
    }

    private void Rewind()
    {
        _read = 0;
        _slot = 0;
    }

    private ReadStatus Lose(ulong written)
    {
        SkipTo(written);
        return ReadStatus.Overrun;
    }

    private void SkipTo(ulong written)
    {
        _read = written;
        _slot = (uint)(written % _elements);
    }

    private void Advance(uint packets)
    {
        _read += packets;
        _slot += packets;
        if (_slot >= _elements) _slot -= _elements;
    }
}
