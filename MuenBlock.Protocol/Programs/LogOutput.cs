using Microsoft.Win32.SafeHandles;
using MuenBlock.Protocol.Regions;
using Tmds.Linux;
using static Tmds.Linux.LibC;

namespace MuenBlock.Protocol.Programs;

/// <summary>
/// Where a log goes: an open file that never holds up whoever writes to it. A pipe that nobody reads, or a terminal that was stopped (Ctrl-S), takes
/// nothing until it is read again.
/// <list type="bullet">
/// <item>A pipe or a terminal is opened anew, as it is its opening that is told not to block, and the one that was given may be shared with other programs.</item>
/// <item>What cannot be opened so, a socket or another user's pipe, is asked before each line whether it has room.</item>
/// <item>A line has no more bytes than a pipe that has room takes at once; in a regular file it is as long as it is.</item>
/// </list>
/// What is left: a line may wait where it is longer than what a terminal of another user takes at the moment, and for the disk of a regular file.
/// One thread at a time may use an instance.
/// </summary>
internal sealed unsafe class LogOutput : IDisposable
{
    private const int PipeBuffer = 4096; // PIPE_BUF, linux/limits.h

    private readonly SafeFileHandle _file;
    private bool _cut;

    /// <summary>Opens the output.</summary>
    /// <param name="file">The file, open for writing, which stays the caller's. A log that is appended to needs O_APPEND.</param>
    public LogOutput(SafeFileHandle file)
    {
        mode_t kind = Kind(file);
        LongestLine = kind == S_IFREG ? int.MaxValue : PipeBuffer;
        _file = OpenAnew(file, kind) ?? Duplicate(file);
    }

    /// <summary>The longest line that it takes, in bytes.</summary>
    public int LongestLine { get; }

    /// <summary>Writes a line, unless that would take time.</summary>
    /// <param name="line">The line with its end, of at most <see cref="LongestLine"/> bytes.</param>
    /// <returns>Whether it was written. If it was not, a part of it may have been.</returns>
    public bool TryWrite(ReadOnlySpan<byte> line) => (!_cut || TryPut("\n"u8)) && TryPut(line);

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    private bool TryPut(ReadOnlySpan<byte> bytes)
    {
        if (_file.IsClosed) return false;
        var room = new pollfd { fd = PosixFile.Descriptor(_file), events = POLLOUT };
        if (poll(&room, 1, 0) != 1 || (room.revents & POLLOUT) == 0) return false;
        fixed (byte* first = bytes)
        {
            // It fails where the reader is gone or the disk full. Serving goes on: a log is not worth an I/O.
            long written = (long)write(room.fd, first, bytes.Length);
            if (written <= 0) return false;
            _cut = written < bytes.Length;

            // Its end alone comes with the next line.
            return written >= bytes.Length - 1;
        }
    }

    private static mode_t Kind(SafeFileHandle file)
    {
        stat status;
        return fstat(PosixFile.Descriptor(file), &status) == 0 ? status.st_mode & S_IFMT : 0;
    }

    // A regular file that is opened anew would be written from its beginning.
    private static SafeFileHandle? OpenAnew(SafeFileHandle file, mode_t kind) =>
        kind == S_IFIFO || kind == S_IFCHR
            ? PosixFile.TryOpen($"/proc/self/fd/{PosixFile.Descriptor(file)}", O_WRONLY | O_NONBLOCK | O_NOCTTY, out _)
            : null;

    // By a number of its own: that of a standard error that was closed may become a disk's.
    private static SafeFileHandle Duplicate(SafeFileHandle file) => new(fcntl(PosixFile.Descriptor(file), F_DUPFD_CLOEXEC, 0), ownsHandle: true);
}
