using System.Buffers.Binary;

namespace MuenBlock.Fuzz;

/// <summary>Makes inputs out of others, by chance that a seed decides.</summary>
internal sealed class Mutator(int seed)
{
    private const int LongestInput = 4096;

    // The ends of what can be counted, and what is special to blocks and packets.
    private static readonly ulong[] s_interesting =
        [0, 1, 2, 3, 5, 10, 16, 31, 32, 63, 64, 127, 128, 255, 256, 511, 512, 513, 4095, 4096, 32767, 32768, 65535, 65536, int.MaxValue, 1ul << 31, uint.MaxValue, 1ul << 32, 1ul << 55, long.MaxValue, 1ul << 63, ulong.MaxValue - 511, ulong.MaxValue];

    private readonly Random _random = new(seed);

    /// <summary>A new input.</summary>
    /// <param name="corpus">Inputs that are known, at least one.</param>
    public byte[] Next(IReadOnlyList<byte[]> corpus)
    {
        // Now and then from nothing, as a mutation stays near what it came from.
        if (_random.Next(8) == 0) return Random(_random.Next(400));
        var bytes = new List<byte>(corpus[_random.Next(corpus.Count)]);
        for (int i = 1 << _random.Next(6); i > 0; i--) Change(bytes, corpus);
        if (bytes.Count > LongestInput && _random.Next(50) != 0) bytes.RemoveRange(LongestInput, bytes.Count - LongestInput);
        return [.. bytes];
    }

    private void Change(List<byte> bytes, IReadOnlyList<byte[]> corpus)
    {
        int place = _random.Next(bytes.Count + 1);
        switch (_random.Next(bytes.Count == 0 ? 2 : 7))
        {
            case 0:
                bytes.InsertRange(place, Random(_random.Next(1, 24)));
                break;
            case 1:
                byte[] other = corpus[_random.Next(corpus.Count)];
                int from = _random.Next(other.Length + 1);
                bytes.InsertRange(place, other.AsSpan(from, Math.Min(_random.Next(64), other.Length - from)));
                break;
            case 2:
                bytes.RemoveRange(Math.Min(place, bytes.Count - 1), 1);
                break;
            case 3:
                int count = Math.Min(_random.Next(32), bytes.Count - place);
                bytes.RemoveRange(place, count);
                break;
            case 4:
                bytes[Math.Min(place, bytes.Count - 1)] ^= (byte)(1 << _random.Next(8));
                break;
            case 5:
                Calculate(bytes, place, value => value + (ulong)_random.Next(-35, 36));
                break;
            default:
                Calculate(bytes, place, _ => s_interesting[_random.Next(s_interesting.Length)]);
                break;
        }
    }

    private void Calculate(List<byte> bytes, int place, Func<ulong, ulong> calculate)
    {
        int width = Math.Min(1 << _random.Next(4), bytes.Count);
        place = Math.Min(place, bytes.Count - width);
        Span<byte> number = stackalloc byte[sizeof(ulong)];
        number.Clear();
        for (int i = 0; i < width; i++) number[i] = bytes[place + i];
        BinaryPrimitives.WriteUInt64LittleEndian(number, calculate(BinaryPrimitives.ReadUInt64LittleEndian(number)));
        for (int i = 0; i < width; i++) bytes[place + i] = number[i];
    }

    private byte[] Random(int length)
    {
        byte[] bytes = new byte[length];
        _random.NextBytes(bytes);
        return bytes;
    }
}
