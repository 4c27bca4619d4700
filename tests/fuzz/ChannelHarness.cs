using System.Buffers.Binary;
using System.Runtime.InteropServices;
using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;

namespace MuenBlock.Fuzz;

/// <summary>
/// The reader over memory of which any byte may change between two looks. What it finds is compared with a second reader,
/// written down from SHMStream v2, docs/wire-format.md, "Channel", without its care for speed and other threads.
/// </summary>
internal static unsafe class ChannelHarness
{
    private const ulong Protocol = 0x9570208dca77db19;
    private const int LongestRegion = ChannelHeader.Size + 512;
    private const int Batch = 8;

    /// <summary>The input is a script: a writer's deeds, good and bad, and the reader's.</summary>
    public static void Run(ReadOnlySpan<byte> input)
    {
        var script = new Input(input);
        if ((script.Byte() & 1) == 0) RunScript<Request>(script);
        else RunScript<Response>(script);
    }

    /// <summary>The input is a region as it lies in memory, such as one that was recorded.</summary>
    public static void RunImage(ReadOnlySpan<byte> input)
    {
        if (input.Length < ChannelHeader.Size) return;
        ReadImage<Request>(input);
        ReadImage<Response>(input);
    }

    private static void ReadImage<T>(ReadOnlySpan<byte> image)
        where T : unmanaged
    {
        if (image.Length < ChannelHeader.Size + sizeof(T)) return;
        fixed (byte* memory = image)
        {
            var pair = new ReaderPair<T>(memory, image.Length, BinaryPrimitives.ReadUInt64LittleEndian(image[16..]));
            const int enoughForAny = 8;
            for (int i = 0; i < enoughForAny; i++) pair.Read(1 + (i * Batch));
        }
    }

    private static void RunScript<T>(Input script)
        where T : unmanaged
    {
        int length = ChannelHeader.Size + sizeof(T) + (script.Byte() * 2);
        byte* memory = stackalloc byte[LongestRegion + 128];
        new Span<byte>(memory, LongestRegion + 128).Clear();
        var pair = new ReaderPair<T>(memory, length, Protocol);
        var writer = new ChannelWriter<T>(memory, (nuint)length, Protocol);
        writer.Initialise(1);
        while (!script.AtEnd)
        {
            switch (script.Byte() % 8)
            {
                case 0:
                    writer.Initialise(1 + (ulong)script.Byte());
                    break;
                case 1:
                    script.Take(sizeof(T)).CopyTo(MemoryMarshal.AsBytes(new Span<T>(ref writer.Next())));
                    if ((script.Byte() & 1) == 0) writer.Publish();
                    break;
                case 2:
                    writer.Publish();
                    break;
                case 3:
                    // A counter or another word of the header, anything or nearly what it was.
                    int word = script.Below(ChannelHeader.Size / sizeof(ulong)) * sizeof(ulong);
                    ulong value = (script.Byte() & 1) == 0 ? script.UInt64() : *(ulong*)(memory + word) + (ulong)(sbyte)script.Byte();
                    *(ulong*)(memory + word) = value;
                    break;
                case 4:
                    int place = script.UInt16() % length;
                    ReadOnlySpan<byte> bytes = script.Take(script.Below(40));
                    bytes[..Math.Min(bytes.Length, length - place)].CopyTo(new Span<byte>(memory + place, length - place));
                    break;
                case 5:
                    if ((script.Byte() & 1) == 0) pair.Drain();
                    else pair.Forget();
                    break;
                default:
                    pair.Read(1 + script.Below(Batch));
                    break;
            }
        }
    }

    /// <summary>The reader and its model, which must always agree.</summary>
    private sealed class ReaderPair<T>(byte* memory, int length, ulong protocol)
        where T : unmanaged
    {
        private readonly ChannelReader<T> _reader = new(memory, (nuint)length, protocol);
        private readonly ulong _elements = (ulong)((length - ChannelHeader.Size) / sizeof(T));
        private readonly T[] _packets = new T[64];
        private ulong _epoch;
        private ulong _count;

        private ulong Word(int offset) => *(ulong*)(memory + offset);

        public void Drain()
        {
            _reader.Drain();
            if (_epoch != 0) _count = Word(56);
            Agree();
        }

        public void Forget()
        {
            _reader.Forget();
            _epoch = _count = 0;
            Agree();
        }

        public void Read(int batch)
        {
            bool news = _reader.HasNews;
            bool synchronised = _reader.Synchronised;
            ulong before = _count;
            ReadStatus status = _reader.Read(_packets.AsSpan(0, Math.Min(batch, _packets.Length)), out int count);
            ReadStatus expected = Expect(Math.Min(batch, _packets.Length), out int expectedCount);
            Rules.Require(status == expected && count == expectedCount, $"the reader found {status} of {count}, and should have found {expected} of {expectedCount}");
            for (int i = 0; i < count; i++)
            {
                byte* slot = memory + ChannelHeader.Size + ((int)((before + (ulong)i) % _elements) * sizeof(T));
                Rules.Require(
                    MemoryMarshal.AsBytes(new Span<T>(ref _packets[i])).SequenceEqual(new Span<byte>(slot, sizeof(T))),
                    $"packet {i} is not what its slot holds");
            }

            if (!news) Rules.Require(synchronised ? status == ReadStatus.NoData : status is not (ReadStatus.Success or ReadStatus.Overrun), $"no news, and {status}");
            if (status == ReadStatus.Incompatible) Rules.Require(!_reader.DescribeHeader().Contains('\n', StringComparison.Ordinal), "a description is one line");
            Agree();
        }

        private ReadStatus Expect(int batch, out int count)
        {
            count = 0;
            ulong epoch = Word(8);
            if (epoch == 0 || epoch != _epoch)
            {
                _epoch = 0;
                if (epoch == 0) return ReadStatus.Inactive;
                bool good = Word(0) == ChannelHeader.Marker && Word(16) == protocol && Word(24) == (ulong)sizeof(T) && Word(32) == _elements;
                if (!good) return ReadStatus.Incompatible;
                _epoch = epoch;
                _count = 0;
                return ReadStatus.NewEpoch;
            }

            ulong written = Word(56);
            if (written == _count) return ReadStatus.NoData;
            UInt128 oldest = (UInt128)_count + _elements;
            ulong started = Word(48);

            // Counters that run backwards are those of a writer that began anew under its old epoch.
            if (written < _count || (written <= oldest && started < _count))
            {
                _count = 0;
                return ReadStatus.NewEpoch;
            }

            if (written > oldest || started > oldest)
            {
                _count = written;
                return ReadStatus.Overrun;
            }

            count = (int)Math.Min(written - _count, (ulong)batch);
            _count += (ulong)count;
            return ReadStatus.Success;
        }

        private void Agree()
        {
            Rules.Require(_reader.Synchronised == (_epoch != 0), "the reader and its model differ in whether they know the epoch");
            Rules.Require(_epoch == 0 || _reader.Count == _count, $"the reader has counted {_reader.Count} packets instead of {_count}");
            Rules.Require(_reader.Elements == _elements, "the number of elements has changed");
        }
    }
}
