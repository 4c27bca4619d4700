using MuenBlock.Protocol;
using MuenBlock.Protocol.Programs;

namespace MuenBlock.Ublk.Control;

/// <summary>
/// The connections of block devices: one, or several that are joined (docs/wire-format.md, "Our extensions"). Each connection is a hardware queue of every
/// device: the first one is queue 0.
/// </summary>
/// <param name="members">The connections, at least one, in the order of their queues.</param>
internal sealed class QueueConnections(params IReadOnlyList<ConnectionString> members) : IEquatable<QueueConnections>
{
    /// <summary>The connections, in the order of their queues.</summary>
    public IReadOnlyList<ConnectionString> Members { get; } = members;

    /// <summary>Hardware queues of each device.</summary>
    public int Count => Members.Count;

    /// <summary>How messages name them: "connection 1", or "connections 1+2".</summary>
    public string Name => Count == 1 ? $"connection {Members[0].Id}" : $"connections {string.Join('+', Members.Select(member => member.Id))}";

    /// <summary>Reads what <see cref="ToString"/> made.</summary>
    /// <param name="text">The text.</param>
    /// <returns>The connections; null if the text does not name any.</returns>
    public static QueueConnections? TryParse(string text)
    {
        try
        {
            return new QueueConnections(ConnectionString.ParseList(text));
        }
        catch (ProgramException)
        {
            return null;
        }
    }

    /// <summary>Whether a region is used by these and by others.</summary>
    /// <param name="others">The others, with regions in the same directory.</param>
    public bool ShareRegions(QueueConnections others) =>
        Members.SelectMany(Regions).Intersect(others.Members.SelectMany(Regions), StringComparer.Ordinal).Any();

    /// <inheritdoc/>
    public bool Equals(QueueConnections? other) => other is not null && Members.SequenceEqual(other.Members);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as QueueConnections);

    /// <inheritdoc/>
    public override int GetHashCode() => Members[0].GetHashCode();

    /// <summary>The connection strings, separated by commas, as <c>--conn</c> takes them.</summary>
    public override string ToString() => string.Join(',', Members);

    private static string[] Regions(ConnectionString connection) => [connection.Request, connection.Response, connection.Buffer];
}
