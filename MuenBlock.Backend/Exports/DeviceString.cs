using System.Globalization;
using MuenBlock.Protocol.Programs;

namespace MuenBlock.Backend.Exports;

/// <summary>Which disk is exported on which connection: <c>path:connection_id</c> (muenblock, section 2).</summary>
/// <param name="Path">A block device, a partition or an image file. It may hold colons.</param>
/// <param name="Connection">The connection's id.</param>
internal sealed record DeviceString(string Path, uint Connection)
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
        string id = text[(colon + 1)..];
        return uint.TryParse(id, NumberStyles.None, CultureInfo.InvariantCulture, out uint connection)
            ? new DeviceString(text[..colon], connection)
            : throw Malformed(text, $"'{id}' is not a connection id");
    }

    private static ProgramException Malformed(string text, string why) =>
        new(ExitCode.Usage, $"device '{text}': {why}; the form is path:connection_id");
}
