using System.Diagnostics.CodeAnalysis;
using MuenBlock.Protocol.Messages;
using Xunit.Sdk;

namespace MuenBlock.Simulation.Tests;

/// <summary>
/// What always holds, a method for each check. They are called where the thing happens that could break them, and after every step. None of
/// them allocates unless it fails, as I4 is measured around some.
/// </summary>
internal static class Invariants
{
    /// <summary>I1. What is in flight fits into either channel, so none of two honest ends ever overruns the other.</summary>
    public static void I1_what_is_in_flight_fits_the_channels(int inFlight, uint elements)
    {
        if (inFlight < 0 || (uint)inFlight > elements) throw new XunitException($"I1: {inFlight} are in flight, a channel holds {elements}");
    }

    /// <summary>I1. Of a channel between honest ends no packet is lost.</summary>
    public static void I1_no_packet_is_overrun(bool overrun)
    {
        if (overrun) throw new XunitException("I1: packets of an honest end were overrun");
    }

    /// <summary>I2. What the kernel writes to or takes from a slot is nobody else's: no I/O of the disks reads or writes there.</summary>
    public static void I2_a_slot_has_one_owner(Disks disks, uint slot, string who)
    {
        if (disks.Touch((ulong)slot * Kernel.SlotSize, Kernel.SlotSize)) throw new XunitException($"I2: slot {slot} is {who}, and a disk's I/O still touches it");
    }

    /// <summary>I3. Whatever a client asks for, the disk is asked only for whole blocks of an exported device, to be written only if it may be.</summary>
    public static void I3_a_disk_is_asked_for_what_is_its_own(RequestKind kind, int device, ulong offset, ulong length, int[] sectors)
    {
        if ((uint)device >= (uint)Drive.All.Length) throw new XunitException($"I3: device {device} is not exported");
        Drive drive = Drive.All[device];
        if (kind == RequestKind.Sync) return;
        if (drive.IsReadOnly && kind != RequestKind.Read) throw new XunitException($"I3: {kind} on device {device}, which is read-only");
        ulong size = (ulong)sectors[device] * Drive.Sector;
        if (length == 0 || length > size || offset > size - length) throw new XunitException($"I3: {kind} of {length} bytes at {offset} of device {device}");
        if (((offset | length) & (drive.BlockLength - 1)) != 0) throw new XunitException($"I3: {kind} of parts of blocks: {length} bytes at {offset} of device {device}");
    }

    /// <summary>I3. A disk that is not the one that a client began with is left alone.</summary>
    public static void I3_a_wrong_disk_is_not_touched(bool wrong, int underWay)
    {
        if (wrong && underWay > 0) throw new XunitException($"I3: {underWay} I/Os went to a server that was started by mistake");
    }

    /// <summary>I3. The kernel is promised no more than a disk has.</summary>
    public static void I3_no_more_is_promised_than_there_is(int device, ulong blocks, int sectors)
    {
        if (blocks * Drive.All[device].BlockLength > (ulong)sectors * Drive.Sector) throw new XunitException($"I3: {blocks} blocks of device {device} were promised, its disk has {sectors} sectors");
    }

    /// <summary>I3. Nobody is told that a read-only device was written.</summary>
    public static void I3_a_read_only_device_is_not_written(Kernel.Io io, int result)
    {
        if (io.Kind != RequestKind.Read && result >= 0 && Drive.All[io.Device].IsReadOnly) throw new XunitException($"I3: {io.Kind} on read-only device {io.Device} ended with {result}");
    }

    /// <summary>I3. Whatever a client asks for, no byte outside of the buffer is read or written.</summary>
    public static void I3_a_transfer_stays_in_the_buffer(ulong offset, ulong length, ulong bufferLength)
    {
        if (length > bufferLength || offset > bufferLength - length) throw new XunitException($"I3: {length} bytes at {offset} of a buffer of {bufferLength}");
    }

    /// <summary>I3. A client asks for the data of its own slot only, whatever its server told it before.</summary>
    public static void I3_a_request_stays_in_its_slot(in Request request, uint slot)
    {
        ulong start = (ulong)slot * Kernel.SlotSize;
        if (request.BufferOffset < start || request.BufferOffset + request.Length > start + Kernel.SlotSize)
            throw new XunitException($"I3: slot {slot} asks for {request.Length} bytes at {request.BufferOffset} of the buffer");
    }

    /// <summary>I4. After its start a machine allocates nothing.</summary>
    public static void I4_nothing_is_allocated(long bytesBefore, bool measured)
    {
        long bytes = GC.GetAllocatedBytesForCurrentThread() - bytesBefore;
        if (bytes != 0 && measured) throw new XunitException($"I4: {bytes} bytes were allocated");
    }

    /// <summary>I5. A request ends with its full length, or a negative error number; and it ends once.</summary>
    public static void I5_a_request_ends_once_and_whole([NotNull] Kernel.Io? io, int result)
    {
        if (io is null) throw new XunitException("I5: a slot was completed although nothing is under way in it");
        int whole = io.Kind is RequestKind.Read or RequestKind.Write ? (int)io.Length : 0;
        if (result >= 0 && result != whole) throw new XunitException($"I5: {io.Kind} of {io.Length} bytes ended with {result}");
    }

    /// <summary>I6. Once a Reset is answered, no I/O of before it is on any disk.</summary>
    public static void I6_a_reset_ends_all_of_before(Disks disks)
    {
        if (disks.UnderWay > 0) throw new XunitException($"I6: a Reset was answered with {disks.UnderWay} I/Os under way");
    }

    /// <summary>I7. Once a Sync is answered, each sector on the medium has what was answered before it was asked for, or something newer.</summary>
    public static void I7_a_sync_makes_durable(bool durable, int device, int sector, int found)
    {
        if (!durable) throw new XunitException($"I7: after a Sync sector {sector} of device {device} has {found} on the medium, from before what was answered");
    }

    /// <summary>I8. A sector holds what was last acknowledged; where that write failed or its power was cut, what any write since left.</summary>
    public static void I8_nothing_acknowledged_is_lost(bool allowed, int device, int sector, int found, string expected)
    {
        if (!allowed) throw new XunitException($"I8: sector {sector} of device {device} has {found} instead of {expected}");
    }

    /// <summary>I8. A session has every I/O in its table that the kernel waits for and has handed over.</summary>
    public static void I8_nothing_is_forgotten(int known, int handedOver)
    {
        if (known != handedOver) throw new XunitException($"I8: {handedOver} I/Os were handed over, the session knows {known}");
    }

    /// <summary>I8. In the end everything is answered.</summary>
    public static void I8_everything_ends(long step, int underWay)
    {
        if (step > World.MostSteps) throw new XunitException($"I8: {underWay} I/Os were never answered");
    }
}
