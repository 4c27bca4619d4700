namespace MuenBlock.Fuzz;

/// <summary>An input led to something that must never be.</summary>
internal sealed class RuleBrokenException(string message) : Exception(message);

/// <summary>What a harness demands.</summary>
internal static class Rules
{
    public static void Require(bool kept, string rule)
    {
        if (!kept) throw new RuleBrokenException(rule);
    }
}
