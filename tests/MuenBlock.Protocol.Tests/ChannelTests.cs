using MuenBlock.Protocol.Channels;
using MuenBlock.Protocol.Messages;
using Xunit;

namespace MuenBlock.Protocol.Tests;

/// <summary>SHMStream v2, sections 1 to 3, by example.</summary>
public sealed class ChannelTests
{
    private const ulong Protocol = 0xbeefbeefbeef;

    [Fact]
    public void The_specifications_example_is_an_overrun_and_recovers_at_packet_9()
    {
        using TestMemory memory = TestMemory.FromVector("shmstream_appendix.bin");
        ChannelReader<ushort> reader = memory.Reader<ushort>(Protocol);
        ushort[] packets = new ushort[8];
        Assert.Equal(ReadStatus.NewEpoch, reader.Read(packets, out _));
        Assert.Equal(ReadStatus.Overrun, reader.Read(packets, out int count));
        Assert.Equal(0, count);
        Assert.Equal(9ul, reader.Count);
        Assert.Equal(ReadStatus.NoData, reader.Read(packets, out _));
    }

    [Fact]
    public void An_initialised_channel_has_the_header_of_the_specification()
    {
        using var memory = new TestMemory(80);
        memory.Bytes.Fill(0xff);
        memory.Writer<ushort>(Protocol).Initialise(0x1122334455667788);
        byte[] expected =
        [
            0x6d, 0x9b, 0x9a, 0xb7, 0xb6, 0x12, 0x73, 0x48, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
            0xef, 0xbe, 0xef, 0xbe, 0xef, 0xbe, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,
            8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        Assert.Equal(expected, memory.Bytes.ToArray());
    }

    [Fact]
    public void Writing_the_specifications_packets_again_gives_its_bytes()
    {
        using TestMemory vector = TestMemory.FromVector("shmstream_appendix.bin");
        using var memory = new TestMemory((int)vector.Length);
        ChannelWriter<ushort> writer = memory.Writer<ushort>(Protocol);
        writer.Initialise(1);
        ReadOnlySpan<ushort> slots = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, ushort>(vector.Bytes[64..]);
        for (int packet = 0; packet < 9; packet++)
        {
            writer.Next() = slots[packet % 8];
            writer.Publish();
        }

        _ = writer.Next() = slots[1];
        Assert.Equal(vector.Bytes.ToArray(), memory.Bytes.ToArray());
    }

    [Fact]
    public void A_writer_knows_whether_its_header_is_what_it_wrote()
    {
        using var memory = new TestMemory(80);
        ChannelWriter<ushort> writer = memory.Writer<ushort>(Protocol);
        writer.Initialise(5);
        Assert.True(writer.IsIntact);
        writer.Next() = 1;
        writer.Publish();
        Assert.True(writer.IsIntact);

        // Transport, epoch, protocol, size, elements, wc. The hint is the reader's to ignore, wsc is written before each packet.
        foreach (int field in (int[])[0, 1, 2, 3, 4, 7])
        {
            memory.Bytes[(field * 8) + 7] ^= 0x80;
            Assert.False(writer.IsIntact, $"word {field}");
            writer.Initialise(6);
            Assert.True(writer.IsIntact);
        }

        writer.Deactivate();
        Assert.True(writer.IsIntact);
    }

    [Fact]
    public void Muens_default_regions_hold_1022_requests_and_1020_responses()
    {
        using var memory = new TestMemory(0x8000);
        Assert.Equal(1022u, memory.Writer<Request>(1).Elements);
        using var other = new TestMemory(0x4000);
        Assert.Equal(1020u, other.Reader<Response>(1).Elements);
    }

    [Fact]
    public void Packets_become_visible_when_they_are_published()
    {
        using var memory = new TestMemory(4096);
        ChannelWriter<uint> writer = memory.Writer<uint>(Protocol);
        ChannelReader<uint> reader = Synchronised(memory, writer);
        uint[] packets = new uint[4];
        writer.Next() = 7;
        writer.Next() = 8;
        Assert.False(reader.HasNews);
        Assert.Equal(ReadStatus.NoData, reader.Read(packets, out _));
        writer.Publish();
        Assert.True(reader.HasNews);
        Assert.Equal(ReadStatus.Success, reader.Read(packets, out int count));
        Assert.Equal([7u, 8u], packets[..count]);
        Assert.False(reader.HasNews);
    }

    [Fact]
    public void Half_of_a_large_batch_is_worth_publishing_before_the_rest()
    {
        using var memory = new TestMemory(4096);
        ChannelWriter<uint> writer = memory.Writer<uint>(Protocol);
        writer.Initialise(5);
        for (int i = 0; i < 31; i++) writer.Next() = 1;
        Assert.False(writer.IsWorthPublishing);
        writer.Next() = 1;
        Assert.True(writer.IsWorthPublishing);
        writer.Publish();
        Assert.False(writer.IsWorthPublishing);
    }

    [Fact]
    public void A_reader_that_starts_late_gets_what_is_still_there()
    {
        using var memory = new TestMemory(64 + 16);
        ChannelWriter<uint> writer = memory.Writer<uint>(Protocol);
        writer.Initialise(1);
        for (uint i = 0; i < 3; i++) Write(writer, i);
        ChannelReader<uint> reader = memory.Reader<uint>(Protocol);
        uint[] packets = new uint[8];
        Assert.Equal(ReadStatus.NewEpoch, reader.Read(packets, out _));
        Assert.Equal(ReadStatus.Success, reader.Read(packets, out int count));
        Assert.Equal([0u, 1u, 2u], packets[..count]);
    }

    [Fact]
    public void A_full_ring_is_read_whole_and_one_more_is_an_overrun()
    {
        using var memory = new TestMemory(64 + 16);
        ChannelWriter<uint> writer = memory.Writer<uint>(Protocol);
        ChannelReader<uint> reader = Synchronised(memory, writer);
        uint[] packets = new uint[8];
        for (uint i = 0; i < 4; i++) Write(writer, i);
        Assert.Equal(ReadStatus.Success, reader.Read(packets, out int count));
        Assert.Equal(4, count);
        for (uint i = 0; i < 5; i++) Write(writer, i);
        Assert.Equal(ReadStatus.Overrun, reader.Read(packets, out _));
        Write(writer, 42);
        Assert.Equal(ReadStatus.Success, reader.Read(packets, out count));
        Assert.Equal([42u], packets[..count]);
    }

    [Fact]
    public void An_epoch_that_ends_and_one_that_begins_are_seen_once()
    {
        using var memory = new TestMemory(4096);
        ChannelWriter<uint> writer = memory.Writer<uint>(Protocol);
        ChannelReader<uint> reader = Synchronised(memory, writer);
        uint[] packets = new uint[4];
        Write(writer, 1);
        writer.Deactivate();
        Assert.True(reader.HasNews);
        Assert.Equal(ReadStatus.Inactive, reader.Read(packets, out _));
        Assert.False(reader.HasNews);
        writer.Initialise(2);
        Assert.True(reader.HasNews);
        Assert.Equal(ReadStatus.NewEpoch, reader.Read(packets, out _));
        Assert.Equal(ReadStatus.NoData, reader.Read(packets, out _));
    }

    [Fact]
    public void A_count_that_runs_backwards_under_the_same_epoch_is_a_new_session()
    {
        using var memory = new TestMemory(4096);
        ChannelWriter<uint> writer = memory.Writer<uint>(Protocol);
        writer.Initialise(1);
        ChannelReader<uint> reader = memory.Reader<uint>(Protocol);
        uint[] packets = new uint[8];
        _ = reader.Read(packets, out _);
        for (uint i = 0; i < 5; i++) Write(writer, i);
        Assert.Equal(ReadStatus.Success, reader.Read(packets, out _));
        writer.Initialise(1);
        Write(writer, 99);
        Assert.Equal(ReadStatus.NewEpoch, reader.Read(packets, out _));
        Assert.Equal(ReadStatus.Success, reader.Read(packets, out int count));
        Assert.Equal([99u], packets[..count]);
    }

    public static MatrixTheoryData<string, ulong> HeaderFields => new(["Transport", "Protocol", "PacketSize", "Elements", "Product"], [1, 2]);

    [Theory]
    [MemberData(nameof(HeaderFields))]
    public void A_header_that_is_not_what_was_agreed_is_incompatible_until_it_is_under_the_same_epoch_or_the_next(string field, ulong next)
    {
        using var memory = new TestMemory(64 + 64);
        ChannelWriter<uint> writer = memory.Writer<uint>(Protocol);
        writer.Initialise(1);
        switch (field)
        {
            case "Transport": memory.Header.Transport++; break;
            case "Protocol": memory.Header.Protocol++; break;
            case "PacketSize": memory.Header.PacketSize++; break;
            case "Elements": memory.Header.Elements--; break;
            default:
                // Size times elements is the same: that is all that the Ada peers check.
                memory.Header.PacketSize *= 2;
                memory.Header.Elements /= 2;
                break;
        }

        ChannelReader<uint> reader = memory.Reader<uint>(Protocol);
        uint[] packets = new uint[4];
        Assert.Equal(ReadStatus.Incompatible, reader.Read(packets, out _));
        Assert.False(reader.HasNews);
        Assert.Equal(ReadStatus.Incompatible, reader.Read(packets, out _));
        writer.Initialise(next);
        Assert.True(reader.HasNews);
        Assert.Equal(ReadStatus.NewEpoch, reader.Read(packets, out _));
    }

    [Fact]
    public void Geometry_is_not_read_again_within_an_epoch()
    {
        using var memory = new TestMemory(4096);
        ChannelWriter<uint> writer = memory.Writer<uint>(Protocol);
        ChannelReader<uint> reader = Synchronised(memory, writer);
        Write(writer, 5);
        memory.Header.Elements = ulong.MaxValue;
        memory.Header.PacketSize = ulong.MaxValue;
        uint[] packets = new uint[4];
        Assert.Equal(ReadStatus.Success, reader.Read(packets, out int count));
        Assert.Equal([5u], packets[..count]);
    }

    [Fact]
    public void A_first_packet_that_has_expired_is_an_overrun_to_a_new_reader_and_nothing_to_one_that_has_read_it()
    {
        using var memory = new TestMemory(64 + 16);
        ChannelWriter<uint> writer = memory.Writer<uint>(Protocol);
        ChannelReader<uint> old = Synchronised(memory, writer);
        uint[] packets = new uint[8];
        Write(writer, 0);
        Assert.Equal(ReadStatus.Success, old.Read(packets, out _));
        writer.ExpireFirst();
        Assert.True(writer.FirstExpired);
        Write(writer, 1);
        ChannelReader<uint> fresh = memory.Reader<uint>(Protocol);
        Assert.Equal(ReadStatus.NewEpoch, fresh.Read(packets, out _));
        Assert.Equal(ReadStatus.Overrun, fresh.Read(packets, out _));
        for (uint i = 2; i < 20; i++)
        {
            Write(writer, i);
            Assert.Equal(ReadStatus.Success, fresh.Read(packets, out int count));
            Assert.Equal([i], packets[..count]);
            Assert.Equal(ReadStatus.Success, old.Read(packets, out count));
            Assert.Equal(i, packets[count - 1]);
        }

        writer.Initialise(5);
        Assert.False(writer.FirstExpired);
    }

    [Fact]
    public void Packets_that_are_taken_back_are_never_seen_and_the_next_take_their_place()
    {
        using var memory = new TestMemory(64 + 16);
        ChannelWriter<uint> writer = memory.Writer<uint>(Protocol);
        ChannelReader<uint> reader = Synchronised(memory, writer);
        uint[] packets = new uint[8];
        for (uint i = 0; i < 9; i++)
        {
            for (uint taken = 0; taken < i % 4; taken++) writer.Next() = 99;
            writer.Withdraw();
            Assert.Equal(0u, writer.Open);
            Write(writer, i);
            Assert.Equal(ReadStatus.Success, reader.Read(packets, out int count));
            Assert.Equal([i], packets[..count]);
        }
    }

    [Fact]
    public void A_reader_tells_that_the_writer_began_anew_before_it_reads()
    {
        using var memory = new TestMemory(4096);
        ChannelWriter<uint> writer = memory.Writer<uint>(Protocol);
        ChannelReader<uint> reader = Synchronised(memory, writer);
        uint[] packets = new uint[4];
        Write(writer, 1);
        Assert.False(reader.BeganAnew);
        Assert.Equal(ReadStatus.Success, reader.Read(packets, out _));
        Assert.False(reader.BeganAnew);
        writer.Initialise(reader.Epoch);
        Assert.True(reader.BeganAnew);
        Assert.Equal(ReadStatus.NewEpoch, reader.Read(packets, out _));
        Assert.False(reader.BeganAnew);
        writer.Deactivate();
        Assert.True(reader.BeganAnew);
        Assert.Equal(ReadStatus.Inactive, reader.Read(packets, out _));
        Assert.False(reader.BeganAnew);
        writer.Initialise(7);
        Assert.True(reader.BeganAnew);
    }

    [Fact]
    public void Readers_ignore_the_wake_hint()
    {
        using var memory = new TestMemory(4096);
        ChannelWriter<uint> writer = memory.Writer<uint>(Protocol);
        ChannelReader<uint> reader = Synchronised(memory, writer);
        memory.Header.Hint = ulong.MaxValue;
        Write(writer, 5);
        Assert.Equal(ReadStatus.Success, reader.Read(new uint[4], out _));
    }

    private static void Write(ChannelWriter<uint> writer, uint packet)
    {
        writer.Next() = packet;
        writer.Publish();
    }

    private static ChannelReader<uint> Synchronised(TestMemory memory, ChannelWriter<uint> writer)
    {
        writer.Initialise(1);
        ChannelReader<uint> reader = memory.Reader<uint>(Protocol);
        Assert.Equal(ReadStatus.NewEpoch, reader.Read([], out _));
        return reader;
    }
}
