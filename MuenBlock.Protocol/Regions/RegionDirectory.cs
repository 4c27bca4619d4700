namespace MuenBlock.Protocol.Regions;

/// <summary>Where the regions of shared memory are found by name.</summary>
public static class RegionDirectory
{
    /// <summary>Where a Muen subject mounts its channels and memory regions (muenblock, section 5).</summary>
    public const string Muen = "/muenfs";

    /// <summary>Where they are elsewhere: memory-backed, and reachable from containers and virtual machines that are given it.</summary>
    public const string SharedMemory = "/dev/shm/muenblock";

    /// <summary>The directory that is used when none is named.</summary>
    /// <param name="mounts">The mount table, in the form of /proc/self/mounts.</param>
    /// <returns><see cref="Muen"/> where something is mounted there, else <see cref="SharedMemory"/>.</returns>
    public static string Default(string mounts = "/proc/self/mounts")
    {
        try
        {
            foreach (string line in File.ReadLines(mounts))
            {
                string[] fields = line.Split(' ', 3);
                if (fields.Length > 1 && string.Equals(fields[1], Muen, StringComparison.Ordinal)) return Muen;
            }
        }
        catch (IOException)
        {
            // No mount table, as in some containers: then there is no Muen either.
        }

        return SharedMemory;
    }
}
