using MuenBlock.IoUring;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;

namespace MuenBlock.Backend.Serving;

/// <content>The memory that a connection's thread shares with its client: what becomes of it meanwhile, and its registration with the rings.</content>
internal sealed partial class ConnectionThread
{
    /// <summary>What to do where memory cannot be registered.</summary>
    /// <param name="errno">Why it cannot, positive.</param>
    /// <param name="length">How large it is.</param>
    internal static string RegistrationRemedy(int errno, nuint length)
    {
        const int efault = 14; // asm-generic/errno-base.h
        const int enomem = 12;
        const int eopnotsupp = 95; // asm-generic/errno.h: of a file system on a disk, before Linux 6.5
        return errno switch
        {
            // In pieces it could be registered, but an I/O may lie across their border.
            efault when length > Ring.LargestBuffer => $"use a buffer of at most {Ring.LargestBuffer} bytes, the most that io_uring registers",
            efault or eopnotsupp => "keep the regions in memory, such as in /dev/shm, not on a disk",
            enomem => "raise the limit on locked memory (ulimit -l, LimitMEMLOCK)",
            _ => "the kernel may be too old, or memory short",
        };
    }

    private sealed partial class Loop
    {
        /// <summary>
        /// Memory that the client shares with this server was gone: nothing of its session is answered any more, and no other one begins
        /// before the regions are whole again and nothing uses the old memory.
        /// </summary>
        private void LookAfterRegions()
        {
            if (!_lost)
            {
                _lost = true;
                BeginSession();
                if (_budget.Allows()) LogLost(_log, _id, RegionSet.Rule, _owner._connection.Regions.Lost?.Name);
            }

            if (!_looked || _machine.UnderWay > 0) return;
            _looked = false;
            if (!_owner._connection.Regions.TryRestore()) return;

            _lost = false;
            _requests.Forget();
            Renew();
            Open();
        }

        /// <summary>
        /// Takes note, once a second, of what a client or somebody else did to the shared memory while nobody looked: a response channel that no
        /// client would find any more begins anew, and the ring gets the buffer's present pages.
        /// </summary>
        private void LookAtMemory()
        {
            if (_machine.Now < _nextLook) return;
            _nextLook = _machine.Now + LookMilliseconds;
            Renew();
            if (_responses.IsIntact) return;
            BeginSession();
            _signal.Initialise();
            if (_budget.Allows()) LogOverwritten(_log, _id);
        }

        private void Renew()
        {
            int result = _memory.Renew(_update, _machine.Now, _machine.Oldest);
            if (result < 0)
            {
                // A buffer that was cut off has no pages, and is told of as lost.
                if (_owner._connection.Regions.LookForLoss()) return;

                // Tried again each second: what stays as it is, is no news.
                if (result != _notRegistered && _budget.Allows()) LogNotRegistered(_log, _id, PosixFile.Describe(-result), RegistrationRemedy(-result, _owner._connection.Buffer.Length));
                _notRegistered = result;
            }
            else if (_notRegistered < 0 && _memory.IsRegistered)
            {
                _notRegistered = 0;
                if (_budget.Allows()) LogRegistered(_log, _id);
            }
        }

        private int UpdateBuffer(IoVector memory)
        {
            int result = 0;
            foreach (Ring ring in _rings)
            {
                // Emptied are all of them, whatever became of one.
                if (result >= 0 || memory.Length == 0) result = Math.Min(result, ring.UpdateBuffer(0, memory));
            }

            return result;
        }

        private void Register(Connection connection, DiskMemory memory)
        {
            // A disk's number is its device id. The fences behind them are never named: the ring keeps them for as long as it has I/O.
            int[] files = [.. connection.Disks.Select(disk => disk.File).Concat(connection.Fences).Select(PosixFile.Descriptor)];
            int result = 0;
            foreach (Ring ring in _rings) result = Math.Min(result, ring.RegisterFiles(files));
            if (result < 0)
            {
                throw new ProgramException(
                    ExitCode.Environment,
                    $"cannot register {files.Length} files with io_uring: {PosixFile.Describe(-result)}: raise the limit on open files (ulimit -n, LimitNOFILE), or free memory");
            }

            if (memory.Bounce is { } bounce) LogBounce(_log, _id, connection.Buffer.Name, (ulong)bounce.Length);
            else LogDirect(_log, _id, connection.Buffer.Name);
            result = memory.Register(_rings);
            if (result < 0) LogNotRegistered(_log, _id, PosixFile.Describe(-result), RegistrationRemedy(-result, _owner._connection.Buffer.Length));
        }
    }
}
