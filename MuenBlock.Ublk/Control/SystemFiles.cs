namespace MuenBlock.Ublk.Control;

/// <summary>
/// The files in which the kernel tells about itself: /proc, /sys, /dev. They come and go while one looks, and not every process's may
/// be read: what cannot be read is taken for empty.
/// </summary>
/// <param name="root">What goes before every path; empty for the machine's own files.</param>
internal sealed class SystemFiles(string root)
{
    /// <summary>The machine's own.</summary>
    public static SystemFiles Machine { get; } = new(string.Empty);

    /// <summary>The path at which a file is found.</summary>
    /// <param name="path">The file, beginning with a slash.</param>
    public string At(string path) => root + path;

    /// <summary>A file's text without the newline at its end; null if it cannot be read.</summary>
    /// <param name="path">The file.</param>
    public string? Text(string path) => Try(() => File.ReadAllText(At(path)).TrimEnd('\n'), null);

    /// <summary>A file's lines.</summary>
    /// <param name="path">The file.</param>
    public string[] Lines(string path) => Try(() => File.ReadAllLines(At(path)), []);

    /// <summary>The names in a folder, sorted.</summary>
    /// <param name="path">The folder.</param>
    public string[] Names(string path) => Try(
        () =>
        {
            string[] names = [.. Directory.EnumerateFileSystemEntries(At(path)).Select(entry => Path.GetFileName(entry))];
            Array.Sort(names, StringComparer.Ordinal);
            return names;
        },
        []);

    /// <summary>Where a symbolic link points to; null if it is none.</summary>
    /// <param name="path">The link.</param>
    public string? Link(string path) => Try(() => new FileInfo(At(path)).LinkTarget, null);

    /// <summary>Whether there is such a file or folder.</summary>
    /// <param name="path">The path.</param>
    public bool Exists(string path) => Path.Exists(At(path));

    private static T Try<T>(Func<T> read, T otherwise)
    {
        try
        {
            return read();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return otherwise;
        }
    }
}
