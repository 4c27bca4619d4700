using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Control;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Queues;

/// <summary>
/// How the buffer is cut: one slot for each tag of each device, all of a size. A slot belongs to its tag for good, so there is no
/// allocator, and its address is what the ublk driver copies to and from.
/// A server of the original takes two transfers for one where the second continues the first in the buffer, and on the disk by its number of
/// sectors plus the first's number of <em>bytes</em> (docs/wire-format.md, "With peers of the original"). So for such a server a page is left unused at the end
/// of each slot: no transfer ever ends where another slot begins, and no two of them can be such a pair.
/// </summary>
internal sealed record BufferLayout
{
    /// <summary>Requests in flight on a device where nothing else is said: more gain little, and each takes a slot from the size of an I/O.</summary>
    public const int StandardDepth = 64;

    /// <summary>The largest I/O that is chosen unasked: larger ones save nothing.</summary>
    public const uint StandardLargestIo = 1 << 20;

    /// <summary>The smallest slot: a page, as ublk takes no less.</summary>
    public const uint SmallestIo = 4096;

    /// <summary>The largest that may be asked for (the length of one I/O has to fit the driver's 32 MiB).</summary>
    public const uint LargestIo = 32 << 20;

    /// <summary>The most slots of a connection: its table of I/Os has no more.</summary>
    public const int MostSlots = SessionMachine<ChannelRequests, ForwardedCompletions>.MostSlots;

    /// <summary>What is left unused at the end of a slot where it must not touch the next: a page, as ublk wants I/O sizes in pages.</summary>
    private const uint Gap = 4096;

    private BufferLayout(int devices, int depth, uint slotSize, uint gap)
    {
        Devices = devices;
        Depth = depth;
        SlotSize = slotSize;
        LargestSlotIo = slotSize - gap;
    }

    /// <summary>Devices on the connection.</summary>
    public int Devices { get; }

    /// <summary>Tags of a device.</summary>
    public int Depth { get; }

    /// <summary>Bytes from one slot to the next.</summary>
    public uint SlotSize { get; }

    /// <summary>The largest I/O in bytes: a slot, or a page less.</summary>
    public uint LargestSlotIo { get; }

    /// <summary>Slots in all.</summary>
    public int Slots => Devices * Depth;

    /// <summary>
    /// Where the slots end, in bytes of the buffer. What lies behind may be the applications', who read and write from there without a
    /// copy (<c>--app-memory</c>): it is cut by nobody, and no slot reaches into it (I2).
    /// </summary>
    public ulong SlotsEnd => (ulong)Slots * SlotSize;

    /// <summary>Whether an I/O lies in the applications' part of the buffer.</summary>
    /// <param name="registered">What the driver says of the place: the registration's index in the upper half, an offset in the lower.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="bufferLength">The buffer's size in bytes; it is registered whole, as index 0. 0 where it is not the buffer that was registered.</param>
    /// <param name="offset">The place in the buffer.</param>
    /// <returns>False if it does not: then nothing may touch it.</returns>
    public bool IsApplications(ulong registered, uint length, ulong bufferLength, out ulong offset)
    {
        // An index other than 0 makes this larger than any buffer.
        offset = registered;
        return offset >= SlotsEnd && offset < bufferLength && length <= bufferLength - offset;
    }

    /// <summary>The slot of a tag of a device.</summary>
    /// <param name="device">The device's place among those that are served.</param>
    /// <param name="tag">The tag.</param>
    public uint Slot(int device, int tag) => (uint)(device * Depth + tag);

    /// <summary>Cuts the buffer.</summary>
    /// <param name="bufferLength">Its size in bytes.</param>
    /// <param name="devices">How many devices share it.</param>
    /// <param name="mostInFlight">Requests that the channels hold (invariant I1).</param>
    /// <param name="mostBytes">The largest request that every server's device takes, in bytes.</param>
    /// <param name="mergesByBytes">Whether the server may merge what it takes for neighbours, so that slots must not touch.</param>
    /// <param name="depth">The depth that was asked for, or null.</param>
    /// <param name="largestIo">The largest I/O that was asked for, in bytes, or null.</param>
    /// <exception cref="ProgramException">What was asked for does not fit; the message says what would.</exception>
    public static BufferLayout Cut(ulong bufferLength, int devices, uint mostInFlight, ulong mostBytes, bool mergesByBytes, int? depth, uint? largestIo)
    {
        uint gap = mergesByBytes ? Gap : 0;
        ulong share = bufferLength / (ulong)devices;
        int deepest = (int)Math.Min(Math.Min((ulong)UblkLimits.DeepestQueue, Math.Min(mostInFlight, MostSlots) / (uint)devices), share / (SmallestIo + gap));
        if (deepest == 0)
            throw new ProgramException(ExitCode.Resource, $"the regions are too small for {devices} devices: each needs {SmallestIo + gap} bytes of the buffer and a request of the channel");
        if (depth > deepest)
        {
            throw new ProgramException(
                ExitCode.Usage,
                $"--depth {depth} does not fit: {devices} device(s), a buffer of {bufferLength} bytes, channels of {mostInFlight} requests and at most {MostSlots} I/Os of a connection allow {deepest}; use a smaller one, or fewer devices on the connection");
        }

        ulong most = Math.Min(mostBytes, LargestIo);
        if (largestIo > most) throw new ProgramException(ExitCode.Usage, $"--max-io {largestIo} is more than the backend takes: {most} bytes");
        if (largestIo is { } size)
        {
            ulong fitting = share / (size + gap);
            if (fitting < (ulong)(depth ?? 1))
                throw new ProgramException(ExitCode.Usage, $"--max-io {size} does not fit: {devices} device(s) at depth {depth ?? 1} share a buffer of {bufferLength} bytes; use a smaller one, a smaller --depth, or a larger buffer");
            return new BufferLayout(devices, depth ?? (int)Math.Min(Math.Min((ulong)deepest, fitting), StandardDepth), size + gap, gap);
        }

        int queue = depth ?? Math.Min(deepest, StandardDepth);
        ulong slot = Math.Min(Math.Min(share / (ulong)queue, StandardLargestIo), most);
        return new BufferLayout(devices, queue, (uint)ulong.Max(SmallestIo + gap, RoundDownToPowerOfTwo(slot)), gap);
    }

    /// <summary>Cuts the buffer for devices that exist already, so that their tags and the size of their I/O are given.</summary>
    /// <param name="bufferLength">Its size in bytes.</param>
    /// <param name="devices">How many devices share it.</param>
    /// <param name="mostInFlight">Requests that the channels hold (invariant I1).</param>
    /// <param name="mergesByBytes">Whether the server may merge what it takes for neighbours, so that slots must not touch.</param>
    /// <param name="depth">The devices' tags.</param>
    /// <param name="largestIo">Their largest I/O in bytes.</param>
    /// <param name="sharesMemory">Whether what lies behind the slots is applications' memory.</param>
    /// <exception cref="ProgramException">They do not fit: these are not the regions that they were added with, or not such a server.</exception>
    public static BufferLayout Keep(ulong bufferLength, int devices, uint mostInFlight, bool mergesByBytes, int depth, uint largestIo, bool sharesMemory)
    {
        // Slots that lie a page apart would reach into it; and of what such a server would merge there nothing is known.
        if (mergesByBytes && sharesMemory)
            throw new ProgramException(ExitCode.Peer, "devices with --app-memory need a backend that agrees on features, as the one that they were added with did: start that one, such as muenblock-backend");
        uint gap = mergesByBytes ? Gap : 0;
        ulong needed = (ulong)devices * (ulong)depth * (largestIo + gap);
        string what = $"{devices} waiting device(s) with {depth} I/Os of up to {largestIo} bytes each";
        if (needed > bufferLength)
        {
            string why = mergesByBytes ? ", and a backend that agrees on no features needs a page between them: start the one that they were added with" : ": give the connection the regions that they were added with";
            throw new ProgramException(ExitCode.Resource, $"{what} do not fit into the buffer of {bufferLength} bytes{why}");
        }

        if (devices * depth > MostSlots)
            throw new ProgramException(ExitCode.Resource, $"{what} are more than the {MostSlots} I/Os that a connection can have: delete a device ('muenblock-ublk del --force')");
        if ((uint)(devices * depth) > mostInFlight)
            throw new ProgramException(ExitCode.Resource, $"{what} do not fit into channels of {mostInFlight} requests: give the connection the regions that they were added with");
        return new BufferLayout(devices, depth, largestIo + gap, gap);
    }

    private static ulong RoundDownToPowerOfTwo(ulong value) => 1ul << (63 - (int)ulong.LeadingZeroCount(value));
}
