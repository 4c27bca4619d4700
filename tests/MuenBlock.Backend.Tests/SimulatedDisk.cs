using MuenBlock.Backend.Disks;
using MuenBlock.Backend.Serving;
using MuenBlock.Protocol.Messages;
using Xunit;

namespace MuenBlock.Backend.Tests;

/// <summary>
/// Disks and a buffer in memory, and a random mind that decides what happens next: operations complete in any order, in part, with
/// an error, or with the wish to be asked again. It checks of every operation that it was allowed.
/// </summary>
internal sealed class SimulatedDisk(Random random, ServedDevice[] devices, int bufferLength)
{
    private readonly List<Operation> _pending = [];
    private readonly byte[][] _content = [.. devices.Select(device => new byte[device.Size])];

    private sealed record Operation(RequestKind Kind, uint Slot, int Device, ulong Offset, ulong Length, ulong BufferOffset);

    public byte[] Buffer { get; } = new byte[bufferLength];

    public int Pending => _pending.Count;

    public void Start(RequestKind kind, uint slot, int device, ulong offset, ulong length, ulong bufferOffset)
    {
        Assert.DoesNotContain(_pending, operation => operation.Slot == slot);
        Assert.InRange(device, 0, devices.Length - 1);
        if (kind is not RequestKind.Sync and not RequestKind.GetSmart)
        {
            Assert.True(length > 0 && length % devices[device].BlockLength == 0 && offset % devices[device].BlockLength == 0, "an operation is not of whole blocks");
            Assert.True(offset <= devices[device].Size && length <= devices[device].Size - offset, "an operation leaves the device");
        }

        if (kind is RequestKind.Read or RequestKind.Write or RequestKind.GetSmart)
            Assert.True(bufferOffset <= (ulong)Buffer.Length && length <= (ulong)Buffer.Length - bufferOffset, "an operation leaves the buffer");
        _pending.Add(new Operation(kind, slot, device, offset, length, bufferOffset));
    }

    /// <summary>Lets one of the pending operations go on, and says which and how.</summary>
    /// <returns>The slot and the result, as a ring would tell.</returns>
    public (uint Slot, int Result) Step()
    {
        int index = random.Next(_pending.Count);
        Operation operation = _pending[index];
        _pending.RemoveAt(index);
        if (operation.Kind == RequestKind.GetSmart) return (operation.Slot, (int)SmartStatus.ThresholdExceeded);
        int fate = random.Next(20);
        if (fate == 0) return (operation.Slot, -5);
        if (fate == 1) return (operation.Slot, random.Next(2) == 0 ? -4 : -11);
        if (fate == 2 && operation.Kind is not RequestKind.Sync and not RequestKind.Discard) return (operation.Slot, 0);

        Span<byte> disk = _content[operation.Device];
        switch (operation.Kind)
        {
            case RequestKind.Sync:
                return (operation.Slot, 0);
            case RequestKind.Discard:
                disk.Slice((int)operation.Offset, (int)operation.Length).Clear();
                return (operation.Slot, 0);
            default:
                int length = (int)operation.Length;
                int block = (int)devices[operation.Device].BlockLength;
                if (fate < 6) length = random.Next(1, (length / block) + 1) * block;
                Span<byte> place = disk.Slice((int)operation.Offset, length);
                Span<byte> memory = Buffer.AsSpan((int)operation.BufferOffset, length);
                if (operation.Kind == RequestKind.Read) place.CopyTo(memory);
                else memory.CopyTo(place);
                return (operation.Slot, length);
        }
    }
}

/// <summary>The simulated disks as a serving machine's.</summary>
internal readonly struct SimulatedQueue(SimulatedDisk disk) : IDiskQueue
{
    public void Read(uint slot, int device, ulong offset, uint length, ulong bufferOffset) => disk.Start(RequestKind.Read, slot, device, offset, length, bufferOffset);

    public void Deliver(ulong bufferOffset, uint length)
    {
        // The disks read to the buffer itself.
    }

    public void Write(uint slot, int device, ulong offset, uint length, ulong bufferOffset) => disk.Start(RequestKind.Write, slot, device, offset, length, bufferOffset);

    public void Discard(uint slot, int device, ulong offset, ulong length) => disk.Start(RequestKind.Discard, slot, device, offset, length, 0);

    public bool FallBackToOtherDiscard(int device) => false;

    public void ReadSmart(uint slot, int device, ulong bufferOffset) => disk.Start(RequestKind.GetSmart, slot, device, 0, SmartCommands.PageSize, bufferOffset);

    public bool EndsBefore(int device, ulong end) => false;

    public void Flush(uint slot, int device) => disk.Start(RequestKind.Sync, slot, device, 0, 0, 0);

    public int EndFlush(int device, int result, bool isAnswered) => result;
}

/// <summary>Keeps a serving machine's answers. At the moment of a Reset's answer nothing may be under way (I6).</summary>
internal readonly struct CollectedResponses(List<Response> responses, SimulatedDisk disk) : IResponseQueue
{
    public void Answer(RequestKind kind, ushort device, uint tag, ulong status)
    {
        if (kind == RequestKind.Reset && status == 0) Assert.Equal(0, disk.Pending);
        responses.Add(new Response { Kind = kind, Device = device, Tag = tag, Status = status });
    }
}
