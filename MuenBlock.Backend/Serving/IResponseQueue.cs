using MuenBlock.Protocol.Messages;

namespace MuenBlock.Backend.Serving;

/// <summary>Where a serving machine puts its answers.</summary>
internal interface IResponseQueue
{
    /// <summary>Answers a request. Kind, device and tag are the request's as it was received.</summary>
    void Answer(RequestKind kind, ushort device, uint tag, ulong status);
}
