namespace MuenBlock.Ublk.Cli;

/// <summary>Columns for people to read.</summary>
internal static class TextTable
{
    private static readonly string[] s_units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

    /// <summary>Lines whose cells are aligned, two spaces apart, without spaces at the end.</summary>
    /// <param name="lines">The cells of each line; all lines have as many.</param>
    public static string Format(IReadOnlyList<string[]> lines)
    {
        int[] widths = [.. Enumerable.Range(0, lines[0].Length).Select(column => lines.Max(line => line[column].Length))];
        return string.Concat(lines.Select(line => string.Join("  ", line.Select((cell, column) => cell.PadRight(widths[column]))).TrimEnd() + "\n"));
    }

    /// <summary>A size in the largest unit in which it is at least 1, with a decimal where it is not whole, such as 1.5GiB.</summary>
    /// <param name="size">The size in bytes.</param>
    public static string Bytes(ulong size)
    {
        int unit = 0;
        while (unit + 1 < s_units.Length && size >> (10 * (unit + 1)) != 0) unit++;
        ulong whole = 1ul << (10 * unit);
        return size % whole == 0 ? $"{size / whole}{s_units[unit]}" : $"{(double)size / whole:0.0}{s_units[unit]}";
    }
}
