using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace MuenBlock.IoUring.Tests;

/// <summary>A file of its own for one test, and memory for its I/O.</summary>
internal sealed unsafe class TestFile : IDisposable
{
    public const int Size = 1 << 16;

    private const nuint Alignment = 4096;

    private readonly SafeFileHandle _handle;

    public TestFile(string folder)
    {
        Path = System.IO.Path.Combine(folder, $"muenblock-ring-{Guid.NewGuid():N}");
        _handle = File.OpenHandle(Path, FileMode.CreateNew, FileAccess.ReadWrite);
        RandomAccess.SetLength(_handle, Size);
        Memory = (byte*)NativeMemory.AlignedAlloc(Size, Alignment);
    }

    public string Path { get; }

    public int Descriptor => (int)_handle.DangerousGetHandle();

    public byte* Memory { get; }

    public Span<byte> Bytes => new(Memory, Size);

    public byte[] Content => File.ReadAllBytes(Path);

    public void Dispose()
    {
        _handle.Dispose();
        File.Delete(Path);
        NativeMemory.AlignedFree(Memory);
    }
}
