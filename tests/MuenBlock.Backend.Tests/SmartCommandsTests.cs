using Microsoft.Win32.SafeHandles;
using MuenBlock.Backend.Disks;
using MuenBlock.Protocol.Messages;
using Xunit;

namespace MuenBlock.Backend.Tests;

/// <summary>What is made of a disk's answers; the commands themselves run in the guest, on an NVMe drive and an ATA disk.</summary>
public sealed class SmartCommandsTests
{
    // SAT-3, "ATA Status Return": the registers behind SMART RETURN STATUS (ATA8-ACS 7.52.6), in the two formats of sense data.
    [Theory]
    [InlineData(0x72, 0x4f, 0xc2, SmartStatus.Ok)]
    [InlineData(0x70, 0x4f, 0xc2, SmartStatus.Ok)]
    [InlineData(0x72, 0xf4, 0x2c, SmartStatus.ThresholdExceeded)]
    [InlineData(0x70, 0xf4, 0x2c, SmartStatus.ThresholdExceeded)]
    [InlineData(0xf0, 0xf4, 0x2c, SmartStatus.ThresholdExceeded)]
    [InlineData(0x72, 0x4f, 0x2c, SmartStatus.Undefined)]
    [InlineData(0x72, 0, 0, SmartStatus.Undefined)]
    [InlineData(0x73, 0x4f, 0xc2, SmartStatus.Undefined)]
    [InlineData(0, 0x4f, 0xc2, SmartStatus.Undefined)]
    public void The_registers_of_an_ATA_disk_say_how_it_is(byte format, byte middle, byte high, SmartStatus expected)
    {
        byte[] sense = new byte[32];
        sense[0] = format;
        bool isDescriptor = (format & 0x7e) == 0x72;
        if (isDescriptor) sense[8] = 0x09;
        sense[isDescriptor ? 17 : 10] = middle;
        sense[isDescriptor ? 19 : 11] = high;
        Assert.Equal(expected, SmartCommands.Interpret(sense));
    }

    [Fact]
    public void Sense_data_without_registers_say_nothing()
    {
        byte[] sense = new byte[32];
        (sense[0], sense[17], sense[19]) = (0x72, 0x4f, 0xc2);
        Assert.Equal(SmartStatus.Undefined, SmartCommands.Interpret(sense));
    }

    [Fact]
    public void A_plain_file_has_no_SMART_data_and_the_page_stays_as_it_is()
    {
        using var folder = new TestFolder();
        using SafeFileHandle file = File.OpenHandle(folder.Image("disk", 4096));
        byte[] page = new byte[SmartCommands.PageSize];
        page.AsSpan().Fill(0xa5);
        Assert.Equal(SmartStatus.Undefined, SmartCommands.Read(file, page));
        Assert.False(page.AsSpan().ContainsAnyExcept((byte)0xa5));
        Assert.Null(SmartPage.TryRead(file));
    }
}
