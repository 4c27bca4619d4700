using System.Runtime.InteropServices;
using MuenBlock.Protocol.Channels;

namespace MuenBlock.Protocol.Tests;

/// <summary>Memory that both ends of a channel look at, and that a test can write whatever it likes to.</summary>
internal sealed unsafe class TestMemory : IDisposable
{
    public TestMemory(int length)
    {
        Length = (nuint)length;
        Pointer = (byte*)NativeMemory.AlignedAlloc(Length, 4096);
        Bytes.Clear();
    }

    public TestMemory(byte[] content)
        : this(content.Length) => content.CopyTo(Bytes);

    public byte* Pointer { get; }

    public nuint Length { get; }

    public Span<byte> Bytes => new(Pointer, (int)Length);

    public ref ChannelHeader Header => ref *(ChannelHeader*)Pointer;

    public static TestMemory FromVector(string name) => new(File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "vectors", name)));

    public ChannelWriter<T> Writer<T>(ulong protocol)
        where T : unmanaged => new(Pointer, Length, protocol);

    public ChannelReader<T> Reader<T>(ulong protocol)
        where T : unmanaged => new(Pointer, Length, protocol);

    public void Dispose() => NativeMemory.AlignedFree(Pointer);
}
