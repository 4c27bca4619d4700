using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Tests;

/// <summary>The driver knows pages of the buffer that devices were added with: what it tells of them is believed of that file alone.</summary>
public sealed class ApplicationMemoryTests : IDisposable
{
    private const int Size = 1 << 20;
    private const ulong SlotsEnd = Size / 2;

    private readonly string _directory = Directory.CreateTempSubdirectory("muenblock-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void The_buffer_that_devices_were_added_with_is_known_by_any_of_their_records()
    {
        using Region buffer = Make("buffer", Size);
        Assert.True(ApplicationMemory.IsIn([Record(memory: null), Record(ApplicationMemory.Of(buffer, SlotsEnd))], buffer));
    }

    [Fact]
    public void It_is_known_from_a_record_that_was_read()
    {
        using Region buffer = Make("buffer", Size);
        DeviceRecord record = Record(ApplicationMemory.Of(buffer, SlotsEnd));
        record.Save(_directory);
        Assert.Equal(record, DeviceRecord.TryLoad(record.Id, _directory));
    }

    [Fact]
    public void Another_file_in_its_place_is_refused_and_it_is_said_what_can_be_done()
    {
        ApplicationMemory memory;
        using (Region buffer = Make("buffer", Size)) memory = ApplicationMemory.Of(buffer, SlotsEnd);
        File.Move(Path.Combine(_directory, "buffer"), Path.Combine(_directory, "old"));
        using Region other = Make("buffer", Size);
        ProgramException failure = Assert.Throws<ProgramException>(() => ApplicationMemory.IsIn([Record(memory)], other));
        Assert.Equal(ExitCode.Resource, failure.ExitCode);
        Assert.StartsWith($"/dev/ublkb3 is not taken over: buffer {other.Path} is another file than the one", failure.Message, StringComparison.Ordinal);
        Assert.Contains("remove /run/muenblock/ublkb3.json and name the connection again ('muenblock-ublk recover 3 --conn", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_same_file_with_another_size_is_refused()
    {
        ApplicationMemory memory;
        using (Region buffer = Make("buffer", Size)) memory = ApplicationMemory.Of(buffer, SlotsEnd);
        using Region longer = Make("buffer", 2 * Size);
        Assert.Throws<ProgramException>(() => ApplicationMemory.IsIn([Record(memory)], longer));
    }

    [Fact]
    public void Without_a_record_that_tells_it_is_not_known()
    {
        using Region buffer = Make("buffer", Size);
        Assert.False(ApplicationMemory.IsIn([], buffer));
        Assert.False(ApplicationMemory.IsIn([Record(memory: null), Record(new ApplicationMemory(buffer.Path, SlotsEnd, Size - SlotsEnd))], buffer));
    }

    private static DeviceRecord Record(ApplicationMemory? memory) => DeviceRecordTests.Example(3) with { ApplicationMemory = memory };

    private Region Make(string name, int size)
    {
        using (FileStream file = File.Open(Path.Combine(_directory, name), FileMode.OpenOrCreate)) file.SetLength(size);
        return Region.Open(_directory, name, writable: true, Region.PageSize);
    }
}
