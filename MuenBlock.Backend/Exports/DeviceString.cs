using System.Globalization;
using MuenBlock.Protocol.Programs;

namespace MuenBlock.Backend.Exports;

/// <summary>
/// Which disk is exported on which connection: <c>path:connection_id</c> (docs/wire-format.md, "Connection"). Ours: <c>path:1+2</c> exports it on several,
/// for clients that join them into one block device with a hardware queue for each ("Our extensions").
/// </summary>
/// <param name="Path">A block device, a partition or an image file. It may hold colons.</param>
/// <param name="Connections">The ids of its connections, each once; at least one.</param>
internal sealed record DeviceString(string Path, IReadOnlyList<uint> Connections)
{
    /// <summary>Reads device strings.</summary>
    /// <param name="text">One, or several separated by commas.</param>
    /// <exception cref="ProgramException">The text is not of the form; the message says where.</exception>
    public static IReadOnlyList<DeviceString> ParseList(string text) => [.. text.Split(',').Select(Parse)];

    /// <summary>Reads a device string.</summary>
    /// <param name="text">The string.</param>
    /// <exception cref="ProgramException">The text is not of the form; the message says where.</exception>
    public static DeviceString Parse(string text)
    {
        int colon = text.LastIndexOf(':');
        if (colon <= 0) throw Malformed(text, "it names no connection");
        uint[] connections = [.. text[(colon + 1)..].Split('+').Select(id => ParseId(text, id))];
        foreach (IGrouping<uint, uint> same in connections.GroupBy(id => id).Where(group => group.Count() > 1)) throw Malformed(text, $"it names connection {same.Key} twice");
        return new DeviceString(text[..colon], connections);
    }

    /// <summary>The device in the form that <see cref="Parse"/> reads.</summary>
    public override string ToString() => $"{Path}:{string.Join('+', Connections)}";

    private static uint ParseId(string text, string id) =>
        uint.TryParse(id, NumberStyles.None, CultureInfo.InvariantCulture, out uint connection) ? connection : throw Malformed(text, $"'{id}' is not a connection id");

    private static ProgramException Malformed(string text, string why) =>
        new(ExitCode.Usage, $"device '{text}': {why}; the form is path:connection_id, or path:1+2 for several connections");
}
