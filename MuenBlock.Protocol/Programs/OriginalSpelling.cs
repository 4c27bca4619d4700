namespace MuenBlock.Protocol.Programs;

/// <summary>
/// Accepts the parameters of the original's kernel modules as they stand in its documentation: <c>connections=…</c>,
/// <c>device=…</c> and, as its integration scripts spell it, <c>devices=…</c>.
/// </summary>
public static class OriginalSpelling
{
    private static readonly (string Original, string Ours)[] s_parameters =
        [("connections=", "--conn"), ("devices=", "--device"), ("device=", "--device")];

    /// <summary>Turns the original's parameters into our options; leaves everything else as it is.</summary>
    /// <param name="arguments">The program's arguments.</param>
    /// <returns>The arguments to parse.</returns>
    public static string[] Translate(IReadOnlyList<string> arguments)
    {
        ArgumentNullException.ThrowIfNull(arguments);
        return [.. arguments.SelectMany(Translate)];
    }

    private static IEnumerable<string> Translate(string argument)
    {
        foreach ((string original, string ours) in s_parameters)
        {
            if (argument.StartsWith(original, StringComparison.Ordinal)) return [ours, argument[original.Length..]];
        }

        return [argument];
    }
}
