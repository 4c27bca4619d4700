using MuenBlock.Backend.Disks;
using MuenBlock.IoUring;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;

namespace MuenBlock.Backend.Serving;

/// <summary>
/// Reads SMART data for a connection, so that its thread does not wait for commands that only block. Requests go to it and answers
/// come back through two rings of a fixed size, each with one writer and one reader; nothing is allocated after its start.
/// </summary>
internal sealed unsafe class SmartThread : IDisposable
{
    private readonly Disk[] _disks;
    private readonly byte* _buffer;
    private readonly (uint Slot, int Device, ulong BufferOffset)[] _asked;
    private readonly (uint Slot, SmartStatus Status)[] _answered;
    private readonly WakeUp _work = new();
    private readonly WakeUp _done = new();
    private readonly Thread _thread;
    private ulong _askedWritten;
    private ulong _askedRead;
    private ulong _hurried;
    private ulong _answeredWritten;
    private ulong _answeredRead;
    private volatile bool _ending;

    /// <summary>Starts the thread.</summary>
    /// <param name="disks">The disks, by device id.</param>
    /// <param name="buffer">Where the data goes.</param>
    /// <param name="mostAsked">How many requests there may be at a time.</param>
    /// <param name="id">The connection's id.</param>
    internal SmartThread(Disk[] disks, byte* buffer, nuint mostAsked, uint id)
    {
        _disks = disks;
        _buffer = buffer;
        _asked = new (uint, int, ulong)[mostAsked];
        _answered = new (uint, SmartStatus)[mostAsked];
        _thread = new Thread(Run) { Name = $"SMART of connection {id}", IsBackground = true };
        Threads.Start(_thread);
    }

    /// <summary>Starts the thread of a connection.</summary>
    /// <param name="connection">The connection.</param>
    /// <returns>The thread; null if no disk of the connection has SMART data.</returns>
    public static SmartThread? StartIfNeeded(Connection connection)
    {
        if (!Array.Exists(connection.Disks, disk => disk.Smart is not null)) return null;
        return new SmartThread(connection.Disks, connection.Buffer.Memory, MostAsked(connection.Request.Length, connection.Response.Length), connection.Name.Id);
    }

    /// <summary>How many requests there can be at a time: no more are under way than both channels hold (I1), of which the client may have made one huge.</summary>
    /// <param name="request">Bytes of the request channel.</param>
    /// <param name="response">Bytes of the response channel.</param>
    internal static nuint MostAsked(nuint request, nuint response) => Math.Min(request / (nuint)sizeof(Request), response / (nuint)sizeof(Response));

    /// <summary>Queues the entry that completes when there are answers. Each completion needs a new one.</summary>
    /// <param name="ring">The connection's ring.</param>
    /// <param name="userData">The user data of the completion.</param>
    public void Arm(Ring ring, ulong userData) => _done.Arm(ring, userData);

    /// <summary>Asks for the SMART data of a device.</summary>
    /// <param name="slot">The name of the request.</param>
    /// <param name="device">The device, which has such data.</param>
    /// <param name="bufferOffset">Where in the buffer it is to go; 512 bytes are there.</param>
    public void Ask(uint slot, int device, ulong bufferOffset)
    {
        _asked[_askedWritten % (uint)_asked.Length] = (slot, device, bufferOffset);

        // Release, pairs with the thread's load: it sees the request if it sees the count.
        Volatile.Write(ref _askedWritten, _askedWritten + 1);
        _work.Signal();
    }

    /// <summary>
    /// The answers to all that was asked so far are waited for: what has not been begun gets the data that was read last, as a disk that hangs
    /// would take as long for each.
    /// </summary>
    /// <remarks>Orders nothing: the thread looks before it asks each disk, and one that sees it too late asks once more.</remarks>
    public void Hurry() => Volatile.Write(ref _hurried, _askedWritten);

    /// <summary>Takes an answer.</summary>
    /// <param name="slot">The name of the request.</param>
    /// <param name="status">How the disk is. The data is in the buffer.</param>
    public bool TryTake(out uint slot, out SmartStatus status)
    {
        (slot, status) = (0, SmartStatus.Failure);

        // Acquire, pairs with the thread's store.
        if (_answeredRead == Volatile.Read(ref _answeredWritten)) return false;
        (slot, status) = _answered[_answeredRead++ % (uint)_answered.Length];
        return true;
    }

    /// <summary>Ends the thread, which has no request any more.</summary>
    public void Dispose()
    {
        _ending = true;
        _work.Signal();
        _thread.Join();
        _work.Dispose();
        _done.Dispose();
    }

    private void Run()
    {
        while (!_ending)
        {
            // Acquire, pairs with the store in Ask.
            if (_askedRead == Volatile.Read(ref _askedWritten))
            {
                _work.Wait();
                continue;
            }

            ulong number = _askedRead++;
            (uint slot, int device, ulong bufferOffset) = _asked[number % (uint)_asked.Length];
            bool mayRead = number >= Volatile.Read(ref _hurried);
            SmartStatus status = _disks[device].Smart?.CopyTo(new Span<byte>(_buffer + bufferOffset, SmartCommands.PageSize), mayRead) ?? SmartStatus.Undefined;
            _answered[_answeredWritten % (uint)_answered.Length] = (slot, status);

            // Release, pairs with the load in TryTake.
            Volatile.Write(ref _answeredWritten, _answeredWritten + 1);
            _done.Signal();
        }
    }
}
