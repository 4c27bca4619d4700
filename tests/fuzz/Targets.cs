namespace MuenBlock.Fuzz;

/// <summary>Does with an input what the product does with something that others wrote. Throws if anything is not as it must be.</summary>
/// <param name="input">Any bytes.</param>
internal delegate void Harness(ReadOnlySpan<byte> input);

/// <summary>Everything that reads what another domain or a user wrote, by name.</summary>
internal static class Targets
{
    public static readonly IReadOnlyDictionary<string, Harness> All = new SortedDictionary<string, Harness>(StringComparer.Ordinal)
    {
        ["channel"] = ChannelHarness.Run,
        ["connections"] = TextHarness.Connections,
        ["devices"] = TextHarness.Devices,
        ["messages"] = MessageHarness.Run,
        ["record"] = RecordHarness.Run,
        ["region"] = ChannelHarness.RunImage,
        ["serving"] = ServingHarness.Run,
        ["session"] = SessionHarness.Run,
        ["spelling"] = TextHarness.Spelling,
    };
}
