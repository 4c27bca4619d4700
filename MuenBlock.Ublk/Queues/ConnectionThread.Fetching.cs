using MuenBlock.IoUring;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using MuenBlock.Ublk.Control;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Queues;

/// <content>What the driver asks for: tags that were fetched become I/O of the session.</content>
internal sealed partial class ConnectionThread
{
    private sealed partial class Loop
    {
        private const int SectorShift = 9;
        private const int Efault = 14; // asm-generic/errno-base.h
        private const ulong OwnSlot = SessionMachine<ChannelRequests, ForwardedCompletions>.OwnSlot;

        private void Fetched(uint slot, int result)
        {
            int index = (int)slot / _depth;
            DeviceQueue queue = _queues[index];
            if (result != UblkLimits.ResultReady)
            {
                if (result != UblkLimits.ResultAborted)
                {
                    FetchFailed(queue, result);
                }
                else if (!queue.IsEnding)
                {
                    queue.IsEnding = true;
                    _ending++;
                }

                queue.Aborted++;
                if (queue.Ended) Close(queue);
                return;
            }

            Take(slot, queue, (int)slot - (index * _depth));
        }

        private void TakeBatch(in Completion completion)
        {
            DeviceQueue queue = _queues[BatchQueue.DeviceOf(completion.UserData)];
            BatchQueue batch = queue.Batch!;
            foreach (ushort tag in batch.Tags(completion))
            {
                Take((uint)(queue.Index * _depth) + tag, queue, tag);
                if (_requests.IsWorthPublishing) _signal.Publish();
            }

            bool again = batch.Complete(completion, out int lost);
            if (lost < 0) FetchFailed(queue, lost);
            if (again) _commands.FetchAgain(queue);
            else if (batch.Ended) Close(queue);
        }

        /// <summary>
        /// The driver has refused something. Before there was any I/O that is a tag which was offered, and it starts no device of which it lacks one: whoever
        /// waits for that would wait in vain, and is told by the failure of this thread.
        /// </summary>
        private void FetchFailed(DeviceQueue queue, int result)
        {
            string reason = PosixFile.Describe(-result);
            if (_ios == 0) throw new ProgramException(ExitCode.Environment, $"the driver does not take the tags of /dev/ublkc{queue.Id}: {reason}");
            LogFetchFailed(_log, _id, queue.Id, reason);
        }

        /// <summary>The driver wants something done with a tag.</summary>
        private void Take(uint slot, DeviceQueue queue, int tag)
        {
            _ios++;
            ref readonly IoDescriptor io = ref queue[tag];
            RequestKind kind = io.Operation switch
            {
                BlockOperation.Read => RequestKind.Read,
                BlockOperation.Write => RequestKind.Write,
                BlockOperation.Flush => RequestKind.Sync,
                BlockOperation.Discard => RequestKind.Discard,
                _ => RequestKind.None,
            };
            if (kind == RequestKind.None)
            {
                const int eopnotsupp = 95; // asm-generic/errno.h; no such operation was offered to the kernel
                _session.Decline(slot, -eopnotsupp);
                return;
            }

            uint length = kind == RequestKind.Sync ? 0 : io.Sectors << SectorShift;
            ulong place = OwnSlot;
            if (kind is RequestKind.Read or RequestKind.Write)
            {
                if ((io.OperationFlags & (uint)IoFlags.SharedMemory) == 0)
                {
                    _copies++;
                }
                else if (_layout!.IsApplications(io.Address, length, _sharedEnd, out place))
                {
                    _shared++;
                }
                else
                {
                    // An application that reads and writes from a slot, which is another I/O's, or memory that is not in this buffer, or not any more.
                    _session.Decline(slot, -Efault);
                    return;
                }
            }

            if (kind == RequestKind.Write && place == OwnSlot && !_session.IsElsewhere(slot)) _commands.HandOver(slot, length);
            _session.Submit(slot, kind, queue.Device, kind == RequestKind.Sync ? 0 : io.StartSector << SectorShift, length, place);
        }
    }
}
