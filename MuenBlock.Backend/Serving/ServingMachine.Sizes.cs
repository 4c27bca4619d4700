using MuenBlock.Protocol.Messages;

namespace MuenBlock.Backend.Serving;

/// <content>
/// Disks that grow while they are served. The bounds of requests follow at once. A client that asked for it (<see cref="RequestKind.Watch"/>) is told
/// that something has changed, and then asks for the sizes itself; who never asks is told nothing. The count of changes is in the question, so
/// that none is missed between two questions, and in a session one question at most is held back.
/// </content>
internal sealed partial class ServingMachine<TDisks, TResponses>
{
    private ulong _changes = 1;
    private Request _watch;

    /// <summary>A device's size at present, in bytes.</summary>
    /// <param name="device">The device's id.</param>
    public ulong SizeOf(int device) => _devices[device].Size;

    /// <summary>A disk has another size. What lies behind its end is refused from now on; what was accepted goes on.</summary>
    /// <param name="device">The device's id.</param>
    /// <param name="size">Bytes, a multiple of its block length.</param>
    public void Resize(int device, ulong size)
    {
        _devices[device].Size = size;
        _changes++;
        AnswerWatch();
    }

    private void HandleWatch(in Request request)
    {
        // Each question has its answer, also where a client asks again too early.
        AnswerWatch();
        _watch = request;
        if (request.Length != _changes) AnswerWatch();
    }

    private void AnswerWatch()
    {
        if (_watch.Kind != RequestKind.None) Answer(_watch, _changes);
        _watch.Kind = RequestKind.None;
    }
}
