using MuenBlock.Ublk.Control;

namespace MuenBlock.Fuzz;

/// <summary>A state file of any content: it is no record of the device, or one that has everything and is written and read again.</summary>
internal static class RecordHarness
{
    private const int Id = 3;

    private static readonly string s_directory = Directory.CreateTempSubdirectory("muenblock-fuzz-").FullName;

    static RecordHarness() => AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(s_directory, recursive: true);

    public static void Run(ReadOnlySpan<byte> input)
    {
        File.WriteAllBytes(Path.Combine(s_directory, $"ublkb{Id}.json"), input);
        if (DeviceRecord.TryLoad(Id, s_directory) is not { } record) return;
        Rules.Require(record.Id == Id, "a record is of its device");
        Rules.Require(record is { Path: not null, Connection: not null, RegionDirectory: not null }, "a record lacks no text");
        record.Save(s_directory);
        Rules.Require(DeviceRecord.TryLoad(Id, s_directory) == record, "a record is read as it was written");
    }
}
