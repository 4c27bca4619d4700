using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Signals;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Queues;

/// <summary>Composes requests in place in the request channel; the connection's loop publishes them together.</summary>
/// <param name="writer">The request channel.</param>
/// <param name="signal">The connection's signal.</param>
internal readonly struct ChannelRequests(ChannelWriter<Request> writer, PeerSignal<Response, Request> signal) : IRequestQueue
{
    /// <inheritdoc/>
    public void Send(in Request request) => writer.Next() = request;

    /// <inheritdoc/>
    public void Restart() => signal.Initialise();
}
