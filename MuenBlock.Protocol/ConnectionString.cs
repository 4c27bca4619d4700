using System.Globalization;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;

namespace MuenBlock.Protocol;

/// <summary>
/// What a connection consists of (docs/wire-format.md, "Connection"):
/// <c>id:request:response:buffer[:request_protocol:response_protocol]</c>, the protocols in hexadecimal.
/// </summary>
/// <param name="Id">The connection's number, by which devices name it.</param>
/// <param name="Request">The name of the region of the request channel.</param>
/// <param name="Response">The name of the region of the response channel.</param>
/// <param name="Buffer">The name of the region of the buffer.</param>
/// <param name="RequestProtocol">The protocol id of the request channel, not 0.</param>
/// <param name="ResponseProtocol">The protocol id of the response channel, not 0.</param>
public sealed record ConnectionString(uint Id, string Request, string Response, string Buffer, ulong RequestProtocol, ulong ResponseProtocol)
{
    /// <summary>The request protocol that the original's Linux ends use between them.</summary>
    public const ulong DefaultRequestProtocol = 0x9570208dca77db19;

    /// <summary>The response protocol that the original's Linux ends use between them.</summary>
    public const ulong DefaultResponseProtocol = 0x9851be3282fef0dc;

    /// <summary>The least size of a request channel in bytes: a page holds 126 requests.</summary>
    public const int MinimumChannelSize = Region.PageSize;

    /// <summary>The largest size of a channel in bytes that an end takes: the other one may make its file as large as it likes, and what is mapped is memory of this one.</summary>
    public const int MaximumChannelSize = 64 << 20;

    private const string Form = "id:request:response:buffer[:request_protocol:response_protocol]";

    /// <summary>Reads connection strings.</summary>
    /// <param name="text">One, or several separated by commas.</param>
    /// <returns>At least one.</returns>
    /// <exception cref="ProgramException">The text is not of the form; the message says where.</exception>
    public static IReadOnlyList<ConnectionString> ParseList(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return [.. text.Split(',').Select(Parse)];
    }

    /// <summary>Reads a connection string.</summary>
    /// <param name="text">The string.</param>
    /// <returns>The connection.</returns>
    /// <exception cref="ProgramException">The text is not of the form; the message says where.</exception>
    public static ConnectionString Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        string[] fields = text.Split(':');
        if (fields.Length is not (4 or 6)) throw Malformed(text, $"it has {fields.Length} fields instead of 4 or 6");
        if (!uint.TryParse(fields[0], NumberStyles.None, CultureInfo.InvariantCulture, out uint id))
            throw Malformed(text, $"'{fields[0]}' is not a connection id (a number from 0 to {uint.MaxValue})");
        foreach (string name in fields.AsSpan(1, 3))
        {
            if (!Region.IsName(name)) throw Malformed(text, $"'{name}' is not a region name (a file name without a slash)");
        }

        if (fields[1] == fields[2] || fields[1] == fields[3] || fields[2] == fields[3])
            throw Malformed(text, "request, response and buffer must be three different regions");
        return fields.Length == 4
            ? new ConnectionString(id, fields[1], fields[2], fields[3], DefaultRequestProtocol, DefaultResponseProtocol)
            : new ConnectionString(id, fields[1], fields[2], fields[3], ParseProtocol(text, fields[4]), ParseProtocol(text, fields[5]));
    }

    /// <summary>The connection in the form that <see cref="Parse"/> reads.</summary>
    /// <returns>Four fields, or six where the protocols are not the default ones.</returns>
    public override string ToString() =>
        RequestProtocol == DefaultRequestProtocol && ResponseProtocol == DefaultResponseProtocol
            ? $"{Id}:{Request}:{Response}:{Buffer}"
            : $"{Id}:{Request}:{Response}:{Buffer}:{RequestProtocol:x}:{ResponseProtocol:x}";

    private static ulong ParseProtocol(string text, string field) =>
        ulong.TryParse(field, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong protocol) && protocol != 0
            ? protocol
            : throw Malformed(text, $"'{field}' is not a protocol id (1 to 16 hexadecimal digits without 0x, not 0)");

    private static ProgramException Malformed(string text, string why) =>
        new(ExitCode.Usage, $"connection '{text}': {why}; the form is {Form}");
}
