namespace MuenBlock.Ublk.Tests;

/// <summary>A tree of files that looks like a machine's /proc and /sys, in a temporary folder.</summary>
internal sealed class FakeSystem : IDisposable
{
    public FakeSystem() => Root = Directory.CreateTempSubdirectory("muenblock-").FullName;

    public string Root { get; }

    public void Write(string path, string text)
    {
        string file = Root + path;
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.WriteAllText(file, text);
    }

    public void Link(string path, string target)
    {
        string file = Root + path;
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.CreateSymbolicLink(file, target);
    }

    public void Dispose() => Directory.Delete(Root, recursive: true);
}
