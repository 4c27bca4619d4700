using MuenBlock.Protocol.Messages;

namespace MuenBlock.Ublk.Session;

/// <summary>Where a session sends requests to its server.</summary>
internal interface IRequestQueue
{
    /// <summary>Sends a request. The session never has more of them unanswered than the channel holds.</summary>
    void Send(in Request request);

    /// <summary>Begins a new epoch of the request channel: the server forgets what was sent before.</summary>
    void Restart();
}
