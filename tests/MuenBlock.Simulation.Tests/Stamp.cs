using System.Runtime.InteropServices;

namespace MuenBlock.Simulation.Tests;

/// <summary>What a sector holds, in a word: a write fills each of its sectors with its own number, so a sector tells who wrote it.</summary>
internal static class Stamp
{
    /// <summary>A sector whose bytes are of several writes, or of nobody.</summary>
    public const int Torn = int.MinValue;

    public static void Fill(Span<byte> bytes, int stamp) => MemoryMarshal.Cast<byte, int>(bytes).Fill(stamp);

    public static int Of(ReadOnlySpan<byte> sector)
    {
        ReadOnlySpan<int> words = MemoryMarshal.Cast<byte, int>(sector);
        return words.ContainsAnyExcept(words[0]) ? Torn : words[0];
    }
}
