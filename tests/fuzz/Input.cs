using System.Buffers.Binary;

namespace MuenBlock.Fuzz;

/// <summary>Takes an input apart, field by field. Behind its end there are zeros, so that every input means something.</summary>
internal ref struct Input(ReadOnlySpan<byte> bytes)
{
    private ReadOnlySpan<byte> _rest = bytes;

    public readonly bool AtEnd => _rest.IsEmpty;

    public byte Byte() => Take(1) is [byte value] ? value : (byte)0;

    public ushort UInt16() => (ushort)UInt64(sizeof(ushort));

    public uint UInt32() => (uint)UInt64(sizeof(uint));

    public ulong UInt64() => UInt64(sizeof(ulong));

    /// <summary>A number from 0 to <paramref name="bound"/> - 1, out of one byte.</summary>
    public int Below(int bound) => Byte() % bound;

    public ReadOnlySpan<byte> Take(int length)
    {
        ReadOnlySpan<byte> taken = _rest[..Math.Min(length, _rest.Length)];
        _rest = _rest[taken.Length..];
        return taken;
    }

    private ulong UInt64(int length)
    {
        Span<byte> whole = stackalloc byte[sizeof(ulong)];
        whole.Clear();
        Take(length).CopyTo(whole);
        return BinaryPrimitives.ReadUInt64LittleEndian(whole);
    }
}
