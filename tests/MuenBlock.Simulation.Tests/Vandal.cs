using System.Runtime.InteropServices;
using MuenBlock.Protocol.Messages;

namespace MuenBlock.Simulation.Tests;

/// <summary>Which end is hostile.</summary>
internal enum Side
{
    None,
    Client,
    Server,
}

/// <summary>
/// A hostile end: it changes at random the memory that it may write, which is its own channel and the buffer, or, overreaching, the other channel
/// as well. Much of what it does is nearly right, as what is quite wrong is refused at once.
/// </summary>
internal sealed class Vandal(Random random, SharedMemory memory, Side side, bool overreaches)
{
    private const int EpochWord = 1; // of the header, in words of 8 bytes
    private const int StartWord = 6;
    private const int WrittenWord = 7;

    private static readonly RequestKind[] s_kinds =
    [
        RequestKind.Read, RequestKind.Write, RequestKind.Read, RequestKind.Write, RequestKind.Discard, RequestKind.Sync, RequestKind.Reset, RequestKind.GetSmart,
        RequestKind.MediaBlocks, RequestKind.MaxRequests, RequestKind.MaxDevices, RequestKind.Features, RequestKind.Traits, RequestKind.None,
    ];

    private static readonly ulong[] s_lengths =
        [512, 4096, 4096, 8192, 512, 0, 511, 4097, 16384, 65536, 1ul << 25, (1ul << 32) + 512, 1ul << 63, ulong.MaxValue - 511, ulong.MaxValue];

    private Span<byte> Target => (side == Side.Client) ^ (overreaches && random.Next(4) == 0) ? memory.Requests : memory.Responses;

    /// <summary>Changes something.</summary>
    public void Strike()
    {
        Span<byte> channel = Target;
        Span<ulong> header = MemoryMarshal.Cast<byte, ulong>(channel[..SharedMemory.Header]);
        switch (random.Next(9))
        {
            case 0:
                channel[random.Next(channel.Length)] ^= (byte)(1 << random.Next(8));
                break;
            case 1:
                header[random.Next(header.Length)] = Odd(header[random.Next(header.Length)]);
                break;
            case 2:
                header[WrittenWord] += (ulong)random.Next(2 * memory.Elements);
                header[StartWord] = header[WrittenWord] + (ulong)random.Next(2);
                break;
            case 3:
                header[EpochWord] = random.Next(3) == 0 ? 0 : (ulong)random.NextInt64();
                if (random.Next(2) == 0) header[WrittenWord] = header[StartWord] = 0;
                break;
            case 4:
                random.NextBytes(memory.Buffer.AsSpan(random.Next(memory.Buffer.Length - Drive.Sector), Drive.Sector));
                break;
            default:
                for (int i = random.Next(1, 5); i > 0; i--) Send(channel, header);
                break;
        }
    }

    private ulong Odd(ulong near) => random.Next(6) switch
    {
        0 => 0,
        1 => ulong.MaxValue,
        2 => near + 1,
        3 => near - 1,
        4 => (ulong)memory.Elements + 1,
        _ => (ulong)random.NextInt64(),
    };

    /// <summary>A packet that is right but for a field or two, or another one's.</summary>
    private void Send(Span<byte> channel, Span<ulong> header)
    {
        int slot = (int)(header[WrittenWord] % (ulong)memory.Elements);
        header[StartWord] = header[WrittenWord] + 1;
        if (channel.Length == memory.Requests.Length)
        {
            MemoryMarshal.Cast<byte, Request>(channel[SharedMemory.Header..])[slot] = new Request
            {
                Kind = random.Next(16) == 0 ? (RequestKind)random.Next(0x30) : s_kinds[random.Next(s_kinds.Length)],
                Device = (ushort)(random.Next(8) == 0 ? random.Next(ushort.MaxValue) : random.Next(Drive.All.Length + 1)),
                Tag = (uint)random.Next(64),
                Length = s_lengths[random.Next(2) == 0 ? random.Next(5) : random.Next(s_lengths.Length)],
                DeviceOffset = random.Next(4) == 0 ? Odd(s_lengths[random.Next(s_lengths.Length)] / Drive.Sector) : (ulong)random.Next(60),
                BufferOffset = random.Next(4) == 0 ? Odd(s_lengths[random.Next(s_lengths.Length)]) : (ulong)random.Next(memory.Buffer.Length / Drive.Sector) * Drive.Sector,
            };
        }
        else
        {
            Request asked = MemoryMarshal.Cast<byte, Request>(memory.Requests[SharedMemory.Header..])[random.Next(memory.Elements)];
            MemoryMarshal.Cast<byte, Response>(channel[SharedMemory.Header..])[slot] = new Response
            {
                Kind = random.Next(8) == 0 ? s_kinds[random.Next(s_kinds.Length)] : asked.Kind,
                Device = random.Next(8) == 0 ? (ushort)random.Next(4) : asked.Device,
                Tag = random.Next(8) == 0 ? Mutated(asked.Tag) : asked.Tag,
                Status = random.Next(3) > 0 ? 0 : Odd((ulong)random.Next(12)),
            };
        }

        header[WrittenWord]++;
    }

    private uint Mutated(uint tag) => random.Next(2) == 0 ? tag ^ (1u << random.Next(32)) : (uint)random.Next();
}
