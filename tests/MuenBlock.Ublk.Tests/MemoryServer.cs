using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using MuenBlock.IoUring;
using MuenBlock.Protocol.Regions;
using MuenBlock.Ublk.Control;
using Tmds.Linux;
using static Tmds.Linux.LibC;

namespace MuenBlock.Ublk.Tests;

/// <summary>The smallest server of a block device: its content is memory, its only queue a thread.</summary>
internal sealed unsafe class MemoryServer : IDisposable
{
    public const int Depth = 8;
    public const int SlotSize = 64 << 10;
    private const int SectorShift = 9;
    private const long LookNanoseconds = 20_000_000; // how often it looks whether it shall die

    private readonly int _id;
    private readonly nuint _size;
    private readonly byte* _content;
    private readonly byte* _slots = (byte*)NativeMemory.AlignedAlloc(Depth * SlotSize, 4096);
    private readonly Thread _thread;
    private volatile bool _dying;
    private Exception? _failure;

    public MemoryServer(int id, int size)
    {
        _id = id;
        _size = (nuint)size;
        _content = (byte*)NativeMemory.AllocZeroed(_size);
        _thread = new Thread(Serve) { IsBackground = true };
        _thread.Start();
    }

    public static DeviceParameters Parameters(int size) => new()
    {
        Types = ParameterTypes.Basic,
        Basic = new BasicParameters
        {
            Attributes = DeviceAttributes.VolatileCache,
            LogicalBlockShift = 9,
            PhysicalBlockShift = 12,
            OptimalIoShift = 12,
            MinimumIoShift = 9,
            MostSectors = SlotSize >> SectorShift,
            DeviceSectors = (ulong)size >> SectorShift,
        },
    };

    /// <summary>Lets go of the device without a word, as a server does that is killed.</summary>
    public void Die()
    {
        _dying = true;
        _thread.Join();
    }

    /// <summary>How long the end of the device is waited for.</summary>
    public TimeSpan Patience { get; set; } = TimeSpan.FromSeconds(20);

    /// <summary>Whether the device did not end: the test that uses it failed before it stopped it, or the driver hangs.</summary>
    public bool WasLeft { get; private set; }

    /// <summary>Waits for the end of the device, or lets go of it. That it did so is not thrown from here, as it would hide what the test failed with.</summary>
    public void Dispose()
    {
        if (!_thread.Join(Patience))
        {
            WasLeft = true;
            Die();
        }

        NativeMemory.Free(_content);
        NativeMemory.AlignedFree(_slots);
        if (_failure is not null) throw new InvalidOperationException("the server failed", _failure);
    }

    private void Serve()
    {
        try
        {
            using Ring ring = Ring.Create(new RingOptions { Entries = Depth });
            using SafeFileHandle file = PosixFile.TryOpen($"/dev/ublkc{_id}", O_RDWR, out int error) ?? throw new IOException($"error {error}");
            void* memory = mmap(null, (size_t)4096, PROT_READ, MAP_SHARED | MAP_POPULATE, PosixFile.Descriptor(file), UblkLimits.DescriptorsOffset);
            if (memory == MAP_FAILED) throw new IOException($"error {errno}");
            for (int tag = 0; tag < Depth; tag++) Send(ring, file, UblkCommands.FetchRequest, tag, 0);
            int aborted = 0;
            while (aborted < Depth && !_dying)
            {
                _ = ring.Enter(1, LookNanoseconds);
                while (ring.TryTake(out Completion completion))
                {
                    int tag = (int)completion.UserData;
                    if (completion.Result == UblkLimits.ResultReady) Send(ring, file, UblkCommands.CommitAndFetchRequest, tag, Carry(((IoDescriptor*)memory)[tag], _slots + (tag * SlotSize)));
                    else if (completion.Result == UblkLimits.ResultAborted) aborted++;
                    else throw new IOException($"fetch: {completion.Result}");
                }

                ring.Release();
            }

            _ = munmap(memory, (size_t)4096);
        }
        catch (Exception failure)
        {
            _failure = failure;
        }
    }

    private int Carry(in IoDescriptor io, byte* slot)
    {
        nuint offset = (nuint)io.StartSector << SectorShift;
        nuint length = (nuint)io.Sectors << SectorShift;
        switch ((BlockOperation)(io.OperationFlags & 0xff))
        {
            case BlockOperation.Flush:
                return 0;
            case BlockOperation.Read when offset + length <= _size:
                NativeMemory.Copy(_content + offset, slot, length);
                return (int)length;
            case BlockOperation.Write when offset + length <= _size:
                NativeMemory.Copy(slot, _content + offset, length);
                return (int)length;
            default:
                return -EOPNOTSUPP;
        }
    }

    private void Send(Ring ring, SafeFileHandle file, uint command, int tag, int result)
    {
        ref SubmissionEntry entry = ref ring.NextEntry();
        entry.PrepareCommand(PosixFile.Descriptor(file), command);
        entry.UserData = (ulong)tag;
        entry.Command<IoCommand>() = new IoCommand { Tag = (ushort)tag, Result = result, Address = (ulong)(_slots + (tag * SlotSize)) };
    }
}
