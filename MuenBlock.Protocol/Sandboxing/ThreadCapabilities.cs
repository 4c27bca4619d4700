using System.Globalization;

namespace MuenBlock.Protocol.Sandboxing;

/// <summary>
/// What the threads of this process may do, as the system tells (proc_pid_status(5)). A thread that is gone may do nothing; one of which that
/// cannot be found out is an exception, as nobody could say that it has given up anything.
/// </summary>
/// <param name="folder">Where they are listed: a folder for each.</param>
internal sealed class ThreadCapabilities(string folder = "/proc/self/task")
{
    private const int NoSuchProcess = 3; // ESRCH, asm-generic/errno-base.h

    /// <summary>The threads that have others than these capabilities, or would pass any on to another program.</summary>
    /// <param name="keep">The capabilities: a bit for each CAP_* of linux/capability.h.</param>
    /// <exception cref="IOException">They could not be looked at.</exception>
    /// <exception cref="UnauthorizedAccessException">They could not be looked at.</exception>
    public List<int> Beyond(ulong keep) =>
        [.. Directory.EnumerateDirectories(folder).Select(path => int.Parse(Path.GetFileName(path), CultureInfo.InvariantCulture)).Where(thread => IsBeyond(thread, keep))];

    /// <summary>Whether a thread is there, can take a signal, and has others than these capabilities, or would pass any on to another program.</summary>
    /// <param name="thread">The thread.</param>
    /// <param name="keep">The capabilities.</param>
    /// <exception cref="IOException">It could not be looked at.</exception>
    /// <exception cref="UnauthorizedAccessException">It could not be looked at.</exception>
    public bool IsBeyond(int thread, ulong keep)
    {
        if (Read(thread, "status") is not { } status) return false;
        return ((Set(status, "CapPrm:") & ~keep) != 0 || Set(status, "CapInh:") != 0) && !IsRingWorker(thread);
    }

    /// <summary>A ring's workers are listed, but run in the kernel alone, each I/O with its sender's rights.</summary>
    private bool IsRingWorker(int thread)
    {
        const int flagsAt = 6; // of what follows the name (proc_pid_stat(5))
        const uint ringWorker = 0x10; // PF_IO_WORKER, linux/sched.h
        if (Read(thread, "stat") is not { } status) return true;
        string[] fields = status[(status.LastIndexOf(')') + 2)..].Split(' ');
        return (uint.Parse(fields[flagsAt], CultureInfo.InvariantCulture) & ringWorker) != 0;
    }

    private static ulong Set(string status, string name)
    {
        ReadOnlySpan<char> value = status.AsSpan(status.IndexOf(name, StringComparison.Ordinal) + name.Length);
        return ulong.Parse(value[..value.IndexOf('\n')].Trim(), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
    }

    /// <summary>A file of a thread; null if the thread is gone.</summary>
    private string? Read(int thread, string name)
    {
        try
        {
            return File.ReadAllText($"{folder}/{thread}/{name}");
        }
        catch (IOException e) when (e is FileNotFoundException or DirectoryNotFoundException || e.HResult == NoSuchProcess)
        {
            return null;
        }
    }
}
