using System.Runtime.CompilerServices;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Queues;

/// <summary>The queues of a connection in which results have gathered, so that a round looks at no others.</summary>
/// <param name="queues">The connection's queues, by index.</param>
internal sealed class GatheringQueues(DeviceQueue[] queues)
{
    private readonly int[] _indices = new int[Handshake.MostDevices];
    private readonly bool[] _isNoted = new bool[Handshake.MostDevices];

    /// <summary>How many there are.</summary>
    public int Count { get; private set; }

    /// <summary>A result was added to a queue.</summary>
    /// <param name="index">The queue.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Note(int index)
    {
        if (_isNoted[index]) return;
        _isNoted[index] = true;
        _indices[Count++] = index;
    }

    /// <summary>Sends the results of those queues of which the driver has none already; the others' wait until it has said what became of those.</summary>
    /// <param name="files">The devices' files.</param>
    /// <returns>How many commands were queued.</returns>
    public int Flush(DeviceFiles files)
    {
        int sent = 0;
        int kept = 0;
        for (int i = 0; i < Count; i++)
        {
            int index = _indices[i];
            BatchQueue batch = queues[index].Batch!;
            if (batch.IsDue)
            {
                batch.Commit(files[(uint)index], files.Flags);
                sent++;
            }

            // What the driver refuses a part of is sent again, and is not noted anew.
            _isNoted[index] = !batch.IsEmpty;
            if (_isNoted[index]) _indices[kept++] = index;
        }

        Count = kept;
        return sent;
    }
}
