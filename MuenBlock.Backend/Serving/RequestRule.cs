using MuenBlock.Protocol.Messages;

namespace MuenBlock.Backend.Serving;

/// <summary>What a request must keep to. A request that breaks a rule is answered with an error and touches nothing.</summary>
internal enum RequestRule
{
    /// <summary>It keeps to all of them.</summary>
    Kept,

    /// <summary>The device id is one of the connection's.</summary>
    DeviceExists,

    /// <summary>The kind is one that this server knows.</summary>
    KindIsKnown,

    /// <summary>The length is not 0 and a multiple of the block length.</summary>
    LengthIsWholeBlocks,

    /// <summary>The offset on the device is a multiple of the block length.</summary>
    OffsetIsAligned,

    /// <summary>The range lies on the device.</summary>
    RangeIsOnDevice,

    /// <summary>The offset in the buffer is a multiple of the block length.</summary>
    BufferIsAligned,

    /// <summary>The range lies in the buffer.</summary>
    RangeIsInBuffer,

    /// <summary>The length is at most what Max_Blocks_Count says.</summary>
    LengthIsBounded,

    /// <summary>The device may be written.</summary>
    DeviceIsWritable,
}

/// <summary>Checks requests. Every sum is formed so that it cannot overflow.</summary>
internal static class RequestRules
{
    /// <summary>
    /// What Max_Blocks_Count answers: what a disk command can count with 16 bits, as the original's servers answer (row 5 of docs/wire-format.md, "Recorded session").
    /// </summary>
    public const uint MostBlocks = 65536;

    private const int SectorShift = 9;

    /// <summary>Checks a Read or a Write, and says where on the device it begins.</summary>
    /// <param name="request">The request, in private memory.</param>
    /// <param name="device">The device it names.</param>
    /// <param name="unit">What its device offset counts.</param>
    /// <param name="bufferLength">The buffer's size in bytes.</param>
    /// <param name="offset">The offset on the device in bytes.</param>
    /// <returns><see cref="RequestRule.Kept"/>, or the rule that it breaks.</returns>
    public static RequestRule CheckTransfer(in Request request, ServedDevice device, OffsetUnit unit, ulong bufferLength, out ulong offset)
    {
        RequestRule rule = CheckRange(request, device, unit, out offset);
        if (rule != RequestRule.Kept) return rule;
        return CheckBuffer(request.BufferOffset, request.Length, device, bufferLength);
    }

    /// <summary>Checks a range of the buffer.</summary>
    /// <param name="offset">Where it begins, in bytes.</param>
    /// <param name="length">How long it is, in bytes.</param>
    /// <param name="device">The device that is read or written.</param>
    /// <param name="bufferLength">The buffer's size in bytes.</param>
    /// <returns><see cref="RequestRule.Kept"/>, or the rule that it breaks.</returns>
    public static RequestRule CheckBuffer(ulong offset, ulong length, ServedDevice device, ulong bufferLength)
    {
        if ((offset & (device.BlockLength - 1)) != 0) return RequestRule.BufferIsAligned;
        return length > bufferLength || offset > bufferLength - length ? RequestRule.RangeIsInBuffer : RequestRule.Kept;
    }

    /// <summary>Checks the range of a request on its device, and says where it begins.</summary>
    /// <param name="request">The request, in private memory.</param>
    /// <param name="device">The device it names.</param>
    /// <param name="unit">What its device offset counts.</param>
    /// <param name="offset">The offset on the device in bytes.</param>
    /// <returns><see cref="RequestRule.Kept"/>, or the rule that it breaks.</returns>
    public static RequestRule CheckRange(in Request request, ServedDevice device, OffsetUnit unit, out ulong offset)
    {
        offset = 0;
        ulong mask = device.BlockLength - 1;
        if (request.Length == 0 || (request.Length & mask) != 0) return RequestRule.LengthIsWholeBlocks;
        if (request.Length > (ulong)MostBlocks * device.BlockLength) return RequestRule.LengthIsBounded;
        if (unit == OffsetUnit.Sectors && request.DeviceOffset > ulong.MaxValue >> SectorShift) return RequestRule.RangeIsOnDevice;
        offset = unit == OffsetUnit.Sectors ? request.DeviceOffset << SectorShift : request.DeviceOffset;
        if ((offset & mask) != 0) return RequestRule.OffsetIsAligned;
        return request.Length > device.Size || offset > device.Size - request.Length ? RequestRule.RangeIsOnDevice : RequestRule.Kept;
    }
}
