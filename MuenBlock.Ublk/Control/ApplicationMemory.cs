using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;

namespace MuenBlock.Ublk.Control;

/// <summary>
/// The part of a connection's buffer that is left to applications: whoever maps it and uses it for O_DIRECT I/O on the connection's devices
/// spares that I/O the copy (UBLK_F_SHMEM_ZC).
/// </summary>
/// <param name="File">The buffer's file.</param>
/// <param name="Offset">Where the part begins in it, in bytes: whole pages.</param>
/// <param name="Length">Bytes, up to the buffer's end.</param>
/// <param name="Device">The number of the file system that the file is on; null where it was not noted.</param>
/// <param name="Inode">The file's number on it.</param>
internal sealed record ApplicationMemory(string File, ulong Offset, ulong Length, ulong? Device = null, ulong? Inode = null)
{
    /// <summary>The part of a buffer behind its slots.</summary>
    /// <param name="buffer">The buffer.</param>
    /// <param name="slotsEnd">Where the slots end.</param>
    public static ApplicationMemory Of(Region buffer, ulong slotsEnd)
    {
        return new ApplicationMemory(buffer.Path, slotsEnd, buffer.Length - slotsEnd, buffer.Identity.Device, buffer.Identity.Inode);
    }

    /// <summary>
    /// Whether a buffer is the one whose memory devices share. The driver knows the pages that it was given when they were added: in a file that has taken
    /// the place of theirs, what it calls an offset is other memory.
    /// </summary>
    /// <param name="records">The records of the devices, which were all added with the same buffer.</param>
    /// <param name="buffer">The buffer.</param>
    /// <returns>False if that is not known.</returns>
    /// <exception cref="ProgramException">It is another one.</exception>
    public static bool IsIn(IEnumerable<DeviceRecord> records, Region buffer)
    {
        bool known = false;
        foreach (DeviceRecord record in records)
        {
            if (record.ApplicationMemory is not { Device: { } device, Inode: { } inode } memory) continue;
            known = true;
            if ((device, inode) == buffer.Identity && memory.Offset + memory.Length == buffer.Length) continue;
            throw new ProgramException(
                ExitCode.Resource,
                $"{record.Path} is not taken over: buffer {buffer.Path} is another file than the one whose memory the device shares with applications (--app-memory): move that one back into its place; if it is gone, remove {DeviceRecord.FileOf(record.Id)} and name the connection again ('muenblock-ublk recover {record.Id} --conn CONNECTION'), then only I/O from and to the old memory fails");
        }

        return known;
    }
}
