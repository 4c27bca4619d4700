using CsCheck;
using MuenBlock.Protocol.Channels;
using Xunit;

namespace MuenBlock.Protocol.Tests;

/// <summary>SHMStream v2 for any sequence of steps, any memory and two threads.</summary>
public sealed class ChannelProperties
{
    private const ulong Protocol = 7;

    private enum Step
    {
        Write,
        Publish,
        Read,
        Drain,
        Restart,
        End,
    }

    [Fact]
    public void A_reader_sees_every_packet_in_order_unless_it_is_told_otherwise()
    {
        Gen<(Step Step, int Count)[]> steps = Gen.Select(Gen.Enum<Step>(), Gen.Int[1, 6]).Array[1, 200];
        Gen.Select(Gen.Int[1, 9], steps).Sample(
            (elements, sequence) =>
            {
                using var memory = new TestMemory(64 + (elements * sizeof(ulong)));
                ChannelWriter<ulong> writer = memory.Writer<ulong>(Protocol);
                ChannelReader<ulong> reader = memory.Reader<ulong>(Protocol);
                var model = new Model(writer, reader, elements);
                foreach ((Step step, int count) in sequence) model.Take(step, count);
            },
            iter: 3000);
    }

    [Fact]
    public void Any_memory_whatever_makes_a_reader_neither_fail_nor_loop_nor_write()
    {
        Gen.Select(Gen.Byte.Array[68, 256], Gen.ULong, Gen.Int[0, 3]).Sample(
            (content, number, kind) =>
            {
                using var memory = new TestMemory(content);
                if (kind > 0)
                {
                    // Mostly right headers find the rarer ways.
                    ulong counter = memory.Header.Written;
                    memory.Writer<uint>(Protocol).Initialise(number | 1);
                    memory.Header.Written = kind == 1 ? counter : number % 64;
                    memory.Header.WriteStart = kind == 2 ? counter : number % 64;
                }

                byte[] before = memory.Bytes.ToArray();
                ChannelReader<uint> reader = memory.Reader<uint>(Protocol);
                uint[] packets = new uint[16];
                for (int i = 0; i < 8; i++)
                {
                    ReadStatus status = reader.Read(packets, out int count);
                    Assert.True(count >= 0 && count <= packets.Length);
                    Assert.Equal(status == ReadStatus.Success, count > 0);
                    _ = reader.HasNews;
                    reader.Drain();
                }

                Assert.Equal(before, memory.Bytes.ToArray());
            },
            iter: 3000);
    }

    [Fact]
    public void Two_threads_pass_packets_on_whole_and_in_order()
    {
        const ulong last = 300_000;
        const int elements = 61;
        using var memory = new TestMemory(64 + (elements * 32));
        ChannelWriter<(ulong A, ulong B, ulong C, ulong D)> writer = memory.Writer<(ulong, ulong, ulong, ulong)>(Protocol);
        writer.Initialise(1);
        ulong read = 0;
        bool torn = false;
        bool backwards = false;
        bool finished = false;
        var thread = new Thread(() =>
        {
            ChannelReader<(ulong A, ulong B, ulong C, ulong D)> reader = memory.Reader<(ulong, ulong, ulong, ulong)>(Protocol);
            var packets = new (ulong A, ulong B, ulong C, ulong D)[16];
            ulong previous = 0;
            while (previous < last && !Volatile.Read(ref finished))
            {
                if (reader.Read(packets, out int count) != ReadStatus.Success) continue;
                foreach ((ulong a, ulong b, ulong c, ulong d) in packets.AsSpan(0, count))
                {
                    torn |= a != b || b != c || c != d;
                    backwards |= a <= previous;
                    previous = a;
                    Volatile.Write(ref read, a);
                }
            }
        });
        thread.Start();

        // Now and then the writer waits for the reader, and now and then it runs over it: both must be seen through.
        for (ulong i = 1; i <= last; i++)
        {
            writer.Next() = (i, i, i, i);
            if (i % 3 == 0 || i == last) writer.Publish();
            if (i % 50_000 > 25_000 && i % 30 == 0)
            {
                for (int spins = 0; Volatile.Read(ref read) + 40 < i && spins < 100_000; spins++) Thread.SpinWait(1);
            }
        }

        thread.Join(TimeSpan.FromSeconds(10));
        Volatile.Write(ref finished, true);
        thread.Join();
        Assert.False(torn, "a packet was torn");
        Assert.False(backwards, "packets came out of order");
    }

    // As the original's native client does it: it begins anew at any moment, and then waits for the other end after each packet at first.
    [Fact]
    public void Packets_of_two_sessions_under_one_epoch_are_never_mixed()
    {
        const ulong lastSession = 4_000;
        const ulong awaited = 3;
        const ulong perSession = 30;
        using var memory = new TestMemory(64 + (64 * 16));
        ChannelWriter<(ulong Session, ulong Index)> writer = memory.Writer<(ulong, ulong)>(Protocol);
        ulong seenSession = 0;
        ulong seenIndex = 0;
        string? mixed = null;
        bool finished = false;
        var thread = new Thread(() =>
        {
            ChannelReader<(ulong Session, ulong Index)> reader = memory.Reader<(ulong, ulong)>(Protocol);
            var packets = new (ulong Session, ulong Index)[16];
            while (!Volatile.Read(ref finished))
            {
                if (reader.Read(packets, out int count) != ReadStatus.Success) continue;
                ulong first = reader.Count - (ulong)count;
                for (int i = 0; i < count; i++)
                {
                    if (packets[i].Session != packets[0].Session || packets[i].Index != first + (ulong)i)
                        mixed ??= $"packet {first + (ulong)i} is {packets[i]}, the first of its batch is {packets[0]}";
                }

                Volatile.Write(ref seenIndex, packets[count - 1].Index);
                Volatile.Write(ref seenSession, packets[count - 1].Session);
            }
        });
        thread.Start();
        long end = Environment.TickCount64 + 20_000;
        for (ulong session = 1; session <= lastSession && mixed is null; session++)
        {
            writer.Initialise(1);
            for (ulong index = 0; index < perSession; index++)
            {
                writer.Next() = (session, index);
                writer.Publish();
                while (index < awaited && (Volatile.Read(ref seenSession) != session || Volatile.Read(ref seenIndex) != index))
                    Assert.True(Environment.TickCount64 < end, $"packet {index} of session {session} was not seen");
            }
        }

        Volatile.Write(ref finished, true);
        thread.Join();
        Assert.Null(mixed);
    }

    /// <summary>What a channel is for: a list of packets, of which the newest few are still there.</summary>
    private sealed class Model(ChannelWriter<ulong> writer, ChannelReader<ulong> reader, int elements)
    {
        private readonly List<ulong> _published = [];
        private readonly List<ulong> _open = [];
        private ulong _next;
        private ulong _epoch;
        private int _read;
        private bool _active;
        private bool _known;

        public void Take(Step step, int count)
        {
            switch (step)
            {
                case Step.Restart:
                    writer.Initialise(++_epoch);
                    _published.Clear();
                    _open.Clear();
                    _active = true;
                    _known = false;
                    break;
                case Step.End when _active:
                    writer.Deactivate();
                    _open.Clear();
                    _active = false;
                    break;
                case Step.Write when _active:
                    for (int i = 0; i < count && _open.Count < elements; i++)
                    {
                        _open.Add(++_next);
                        writer.Next() = _next;
                    }

                    break;
                case Step.Publish when _active:
                    _published.AddRange(_open);
                    _open.Clear();
                    writer.Publish();
                    break;
                case Step.Drain when _known && _active:
                    reader.Drain();
                    _read = _published.Count;
                    break;
                case Step.Read:
                    Read(count);
                    break;
                default:
                    break;
            }
        }

        private void Read(int count)
        {
            ulong[] packets = new ulong[count];
            ReadStatus status = reader.Read(packets, out int got);
            if (!_active)
            {
                Assert.Equal(ReadStatus.Inactive, status);
                _known = false;
            }
            else if (!_known)
            {
                Assert.Equal(ReadStatus.NewEpoch, status);
                _known = true;
                _read = 0;
            }
            else if (_read == _published.Count)
            {
                Assert.Equal(ReadStatus.NoData, status);
            }
            else if (_published.Count + _open.Count - _read > elements)
            {
                Assert.Equal(ReadStatus.Overrun, status);
                _read = _published.Count;
            }
            else
            {
                Assert.Equal(ReadStatus.Success, status);
                Assert.Equal(_published.Skip(_read).Take(count), packets[..got]);
                _read += got;
            }
        }
    }
}
