using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;

namespace MuenBlock.Backend.Serving;

/// <summary>Composes answers in place in the response channel; the connection's loop publishes them together.</summary>
/// <param name="writer">The response channel.</param>
internal readonly struct ChannelResponses(ChannelWriter<Response> writer) : IResponseQueue
{
    /// <inheritdoc/>
    public void Answer(RequestKind kind, ushort device, uint tag, ulong status) =>
        writer.Next() = new Response { Kind = kind, Device = device, Tag = tag, Status = status };
}
