using System.Diagnostics;

namespace MuenBlock.Load;

/// <summary>What is measured, whichever way the I/O takes: random transfers within the first <see cref="Span"/> bytes of a disk.</summary>
/// <param name="Depth">Transfers in flight.</param>
/// <param name="BlockSize">Bytes of each.</param>
/// <param name="Write">Writes instead of reads.</param>
/// <param name="Span">Bytes of the disk that are used.</param>
/// <param name="Duration">How long.</param>
/// <param name="Spin">How long to look before sleeping.</param>
internal sealed record Job(int Depth, int BlockSize, bool Write, long Span, TimeSpan Duration, TimeSpan Spin)
{
    private ulong _state = 88172645463325252; // any seed but 0: every run makes the same sequence

    /// <summary>The offset of the next transfer: Marsaglia's xorshift64, which costs next to nothing.</summary>
    public ulong NextOffset()
    {
        _state ^= _state << 13;
        _state ^= _state >> 7;
        _state ^= _state << 17;
        return _state % ((ulong)Span / (ulong)BlockSize) * (ulong)BlockSize;
    }

    /// <summary>Prints what was measured as a line of JSON.</summary>
    /// <param name="way">Which way the I/O took.</param>
    /// <param name="transfers">How many there were.</param>
    /// <param name="elapsed">How long they took together.</param>
    /// <param name="enters">io_uring_enter calls of this program.</param>
    /// <param name="sleeps">How many of them slept.</param>
    public void Report(string way, ulong transfers, TimeSpan elapsed, ulong enters, ulong sleeps)
    {
        double seconds = elapsed.TotalSeconds;
        double cpu = Process.GetCurrentProcess().TotalProcessorTime.TotalMicroseconds;
        Console.WriteLine(string.Create(
            System.Globalization.CultureInfo.InvariantCulture,
            $"{{\"way\":\"{way}\",\"depth\":{Depth},\"block\":{BlockSize},\"iops\":{transfers / seconds:F0},\"mean_us\":{Depth * seconds * 1e6 / transfers:F2},\"cpu_us\":{cpu / transfers:F3},\"enters\":{(double)enters / transfers:F3},\"sleeps\":{(double)sleeps / transfers:F3}}}"));
    }
}
