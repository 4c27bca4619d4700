using System.Runtime.CompilerServices;
using MuenBlock.IoUring;
using MuenBlock.Ublk.Control;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Queues;

/// <summary>
/// Sends a connection's ublk commands as entries of its ring: fetching a tag, and committing its result together with fetching it again.
/// The thread that fetches a tag must be the one that commits it (ublk.rst); the connection's thread does both.
/// </summary>
/// <param name="ring">The ring.</param>
/// <param name="files">The character device of each device, by the device's index.</param>
/// <param name="layout">The slots.</param>
/// <param name="buffer">The first byte of the buffer.</param>
internal readonly unsafe struct QueueCommands(Ring ring, DeviceFiles files, BufferLayout layout, byte* buffer) : IBlockCompletions
{
    /// <summary>Offers a tag to the driver for the first time.</summary>
    /// <param name="slot">The tag's slot.</param>
    public void Fetch(uint slot) => Send(UblkCommands.FetchRequest, slot, 0);

    /// <inheritdoc/>
    public void Complete(uint slot, int result) => Send(UblkCommands.CommitAndFetchRequest, slot, result);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Send(uint command, uint slot, int result)
    {
        uint depth = (uint)layout.Depth;
        uint index = slot / depth;
        ref SubmissionEntry entry = ref ring.NextEntry();
        entry.PrepareCommand(files[index], command);
        entry.Flags = files.Flags;
        entry.UserData = slot;
        entry.Command<IoCommand>() = new IoCommand
        {
            QueueId = 0,
            Tag = (ushort)(slot - (index * depth)),
            Result = result,

            // Where the driver copies to and from. It must be given with every command, and not be 0.
            Address = (ulong)(buffer + ((ulong)slot * layout.SlotSize)),
        };
    }
}
