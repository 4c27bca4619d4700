using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;

namespace MuenBlock.Backend.Serving;

/// <summary>
/// What is known of the original's native client (codelabs-ch/muen, components/src/muenblock_client.adb and muchannel-readers.adb), and
/// how a second run of it is served although it cannot tell the answers to the first run from its own:
/// <list type="number">
/// <item>It initialises the request channel, always under epoch 1; counters that run backwards show that it began anew.</item>
/// <item>Its reader begins at the first packet of the response channel, whatever lies there. So once a client has shown that it has read
/// that packet, it is declared overwritten (<see cref="ChannelWriter{T}.ExpireFirst"/>): the successor's first read is an overrun.</item>
/// <item>It sends Reset and reads once. That this read fails it does not mind: it has passed over all old answers and goes on.</item>
/// <item>It sends Max_Devices, and takes the next packet for the answer. So there must be no answer to the Reset: it is held back
/// until the next request arrives, and then dropped. A client that sends none waits for it and is given it after a while.</item>
/// <item>It waits after each of these, so that its counters cannot reach those of its predecessor unseen: unless that one died after the
/// same two requests. So the answer to Max_Devices is repeated while nothing follows it; the next step of a client drops repeats.</item>
/// </list>
/// A predecessor that died before its third request left answers behind that are true for any run, and may be taken for its own by the next.
/// </summary>
internal static class OriginalClient
{
    private const ulong AlwaysEpoch = 1;

    // Reset and Max_Devices are each answered before the third request is sent.
    private const ulong RequestsBeforeAnswersAreRead = 3;

    /// <summary>Whether the client is one.</summary>
    /// <param name="requests">The request channel.</param>
    public static bool Is(ChannelReader<Request> requests) => requests.Epoch == AlwaysEpoch;

    /// <summary>Whether the client is one and must have read the first answers, as it waits for them before it goes on.</summary>
    /// <param name="requests">The request channel, from which requests were just read.</param>
    public static bool HasReadAnswers(ChannelReader<Request> requests) => Is(requests) && requests.Count >= RequestsBeforeAnswersAreRead;

    /// <summary>
    /// Whether the client began while no server was there and waits for the answer to its first questions, which it will not repeat.
    /// </summary>
    /// <param name="requests">The request channel, from which nothing was read.</param>
    /// <param name="inbox">Where the questions are copied to.</param>
    /// <param name="count">How many they are; 0 if it is not so.</param>
    public static bool Greets(ChannelReader<Request> requests, Span<Request> inbox, out int count)
    {
        bool greets = Is(requests)
            && requests.Read(inbox, out count) == ReadStatus.Success
            && (count is 1 or 2)
            && inbox[0].Kind == RequestKind.Reset
            && (count == 1 || inbox[1].Kind == RequestKind.MaxDevices);
        count = greets ? (int)requests.Count : 0;
        return greets;
    }
}
