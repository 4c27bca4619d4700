using System.Runtime.InteropServices;

namespace MuenBlock.Protocol.Regions;

/// <summary>Where the regions of shared memory are found by name.</summary>
public static partial class RegionDirectory
{
    /// <summary>Where a Muen subject mounts its channels and memory regions (docs/operations.md, "On a Muen subject").</summary>
    public const string Muen = "/muenfs";

    /// <summary>Where a Muen subject mounts the events of its channels.</summary>
    public const string MuenEvents = "/muenevents";

    /// <summary>Where they are elsewhere: memory-backed, and reachable from containers and virtual machines that are given it.</summary>
    public const string SharedMemory = "/dev/shm/muenblock";

    /// <summary>The directory that is used when none is named.</summary>
    /// <param name="mounts">The mount table, in the form of /proc/self/mounts.</param>
    /// <returns><see cref="Muen"/> where something is mounted there, else <see cref="SharedMemory"/>.</returns>
    public static string Default(string mounts = "/proc/self/mounts") => IsMounted(Muen, mounts) ? Muen : SharedMemory;

    /// <summary>The directory of events that is used when none is named.</summary>
    /// <param name="mounts">The mount table.</param>
    /// <returns><see cref="MuenEvents"/> where something is mounted there, else null.</returns>
    public static string? DefaultEvents(string mounts = "/proc/self/mounts") => IsMounted(MuenEvents, mounts) ? MuenEvents : null;

    /// <summary>The one path of a directory, however it is spelled: without symbolic links, such as /run/shm on some systems. Bind mounts are not seen.</summary>
    /// <param name="directory">The directory. What of it does not exist yet is taken as it is.</param>
    /// <returns>A full path.</returns>
    public static string Resolve(string directory)
    {
        string path = Path.TrimEndingDirectorySeparator(Path.GetFullPath(directory));
        return RealPath(path) ?? (Path.GetDirectoryName(path) is { } parent ? Path.Combine(Resolve(parent), Path.GetFileName(path)) : path);
    }

    private static unsafe string? RealPath(string path)
    {
        nint text = RealPath(path, 0);
        string? found = Marshal.PtrToStringUTF8(text);
        NativeMemory.Free((void*)text);
        return found;
    }

    [LibraryImport("libc", EntryPoint = "realpath", StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint RealPath(string path, nint buffer);

    private static bool IsMounted(string directory, string mounts)
    {
        try
        {
            return File.ReadLines(mounts).Any(line => line.Split(' ', 3) is [_, var target, ..] && string.Equals(target, directory, StringComparison.Ordinal));
        }
        catch (IOException)
        {
            // No mount table, as in some containers: then there is no Muen either.
            return false;
        }
    }
}
