using MuenBlock.IoUring;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Queues;

/// <summary>
/// How a ring's entries name the character devices of its connection. Registered files cost less per entry, but kernels that let
/// go of them only in order would keep a deleted device's file for as long as another device of the connection waits for I/O: with
/// those the descriptors themselves are named.
/// </summary>
internal sealed class DeviceFiles
{
    private readonly Ring _ring;
    private readonly bool _registered;
    private readonly int[] _numbers = new int[Handshake.MostDevices];

    /// <summary>Makes the table, without any device.</summary>
    /// <param name="ring">The ring.</param>
    /// <exception cref="ProgramException">The ring takes no files.</exception>
    public DeviceFiles(Ring ring)
    {
        _ring = ring;
        _registered = ring.ReleasesFilesOneByOne;
        _numbers.AsSpan().Fill(-1);
        if (!_registered) return;
        int result = ring.RegisterFiles(_numbers);
        if (result < 0)
        {
            throw new ProgramException(
                ExitCode.Environment,
                $"cannot register {_numbers.Length} files with io_uring: {PosixFile.Describe(-result)}: raise the limit on open files (ulimit -n, LimitNOFILE) to that many, or free memory");
        }

        Flags = EntryFlags.FixedFile;
    }

    /// <summary>The flags of an entry that names one of the files.</summary>
    public EntryFlags Flags { get; }

    /// <summary>The number by which an entry names a device's file.</summary>
    /// <param name="index">The device's place among those that are served.</param>
    public int this[uint index] => _numbers[index];

    /// <summary>Lets entries name a device.</summary>
    /// <param name="queue">The device; its descriptor stays open until <see cref="Remove"/>.</param>
    /// <exception cref="ProgramException">The ring does not take it.</exception>
    public void Add(DeviceQueue queue)
    {
        int result = _registered ? _ring.UpdateFile((uint)queue.Index, queue.Descriptor) : 0;
        if (result < 0) throw new ProgramException(ExitCode.Environment, $"cannot register /dev/ublkc{queue.Id} with io_uring: {PosixFile.Describe(-result)}: free memory and try again");
        _numbers[queue.Index] = _registered ? queue.Index : queue.Descriptor;
    }

    /// <summary>Lets go of a device. The driver would wait for it for ever if a registration stayed.</summary>
    /// <param name="queue">The device; no entry names it any more.</param>
    public void Remove(DeviceQueue queue)
    {
        if (_registered) _ = _ring.UpdateFile((uint)queue.Index, -1);
        _numbers[queue.Index] = -1;
    }
}
