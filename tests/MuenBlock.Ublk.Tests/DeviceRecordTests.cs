using System.Runtime.InteropServices;
using System.Text;
using CsCheck;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Cli;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Tests;

public sealed partial class DeviceRecordTests : IDisposable
{
    private static readonly Gen<DeviceRecord> s_records =
        Gen.Select(Gen.Int[0, 1000], Gen.Int[1, int.MaxValue], Gen.String, Gen.String, Gen.Int[0, 65535], Gen.String.Null(), Gen.DateTimeOffset)
            .Select((id, pid, connection, directory, index, log, started) => new DeviceRecord
            {
                Id = id,
                Path = $"/dev/ublkb{id}",
                Pid = pid,
                Connection = connection,
                RegionDirectory = directory,
                DeviceIndex = index,
                LogFile = log,
                Options = "--wait poll",
                Started = started,
            });

    private readonly FakeSystem _files = new();

    private string Folder => _files.Root + "/run/muenblock";

    public void Dispose() => _files.Dispose();

    // The samples share files, so they are taken one after the other.
    [Fact]
    public void Any_record_is_read_as_it_was_written() =>
        s_records.Sample(
            record =>
            {
                record.Save(Folder);
                return DeviceRecord.TryLoad(record.Id, Folder) == record;
            },
            threads: 1);

    [Fact]
    public void Of_a_record_that_lacks_its_end_nothing_is_believed() =>
        Gen.Select(s_records, Gen.Double[0, 1]).Sample(
            (record, part) =>
            {
                byte[] content = Save(record, out string file);
                File.WriteAllBytes(file, content[..(int)(part * (content.Length - 1))]);
                return DeviceRecord.TryLoad(record.Id, Folder) is null;
            },
            threads: 1);

    [Fact]
    public void A_damaged_record_is_none_or_one_of_the_device() =>
        Gen.Select(s_records, Gen.Double[0, 1], Gen.Byte.Array[1, 4]).Sample(
            (record, part, bytes) =>
            {
                byte[] content = Save(record, out string file);
                bytes.CopyTo(content, (int)(part * (content.Length - bytes.Length)));
                File.WriteAllBytes(file, content);
                return DeviceRecord.TryLoad(record.Id, Folder) is not { } read || read.Id == record.Id;
            },
            threads: 1);

    [Theory]
    [InlineData("")]
    [InlineData("null")]
    [InlineData("[]")]
    [InlineData("{}")]
    [InlineData("{\"id\":3}")]
    public void What_is_no_record_is_not_taken_for_one(string text)
    {
        _files.Write("/run/muenblock/ublkb3.json", text);
        Assert.Null(DeviceRecord.TryLoad(3, Folder));
    }

    [Fact]
    public void The_fields_have_the_names_that_are_documented()
    {
        Example(4).Save(Folder);
        string text = File.ReadAllText($"{Folder}/ublkb4.json", Encoding.UTF8);
        string expected = """
            {
              "id": 4,
              "path": "/dev/ublkb4",
              "pid": 77,
              "connection": "1:a:b:c",
              "regionDirectory": "/dev/shm",
              "deviceIndex": 2,
              "logFile": null,
              "options": "--spin 50",
              "started": "2026-01-02T03:04:05+00:00",
              "eventDirectory": "/events",
              "disk": "00000000000000ab",
              "sizeAsked": null,
              "serverSize": 0
            }
            """;
        Assert.Equal(expected, text);
    }

    [Fact]
    public void Saving_makes_the_folder_for_all_to_read_and_leaves_nothing_else_in_it()
    {
        Example(4).Save(Folder);
        Example(4).Save(Folder);
        Assert.Equal(["ublkb4.json"], Directory.EnumerateFileSystemEntries(Folder).Select(path => Path.GetFileName(path)));
        UnixFileMode mode = File.GetUnixFileMode(Folder);
        Assert.True(mode.HasFlag(UnixFileMode.OtherRead | UnixFileMode.OtherExecute));
        Assert.False(mode.HasFlag(UnixFileMode.OtherWrite));
        Assert.False(mode.HasFlag(UnixFileMode.GroupWrite));
    }

    // Root goes by what it finds there. A service manager, or a shell, may have no umask at all.
    [Fact]
    public void Nobody_else_may_write_to_what_is_made_whatever_the_umask_is()
    {
        uint before = Umask(0);
        try
        {
            using (BackgroundServer.OpenLog($"{Folder}/server-1.log")) Example(4).Save(Folder);
        }
        finally
        {
            _ = Umask(before);
        }

        Assert.Equal(DeviceRecord.FolderMode, File.GetUnixFileMode(Folder));
        foreach (string file in Directory.EnumerateFiles(Folder)) Assert.Equal(DeviceRecord.FileMode, File.GetUnixFileMode(file));
    }

    [Fact]
    public void What_cannot_be_saved_is_said()
    {
        _files.Write("/run/muenblock", "a file where the folder should be");
        ProgramException failure = Assert.Throws<ProgramException>(() => Example(4).Save(Folder));
        Assert.Equal(ExitCode.Resource, failure.ExitCode);
        Assert.Contains($"cannot write {Folder}/ublkb4.json", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Deleting_takes_what_a_process_left_that_was_killed_while_it_wrote_a_record()
    {
        const string killed = "2147483647"; // no kernel gives a process so high a number
        Example(4).Save(Folder);
        string[] parts = [$"ublkb4.json.{killed}", $"ublkb4.json.{Environment.ProcessId}", $"ublkb41.json.{killed}"];
        foreach (string part in parts) File.WriteAllText(Path.Combine(Folder, part), "{");
        DeviceRecord.Delete(4, Folder);
        Assert.Equal(parts[1..].Order(), Directory.GetFiles(Folder).Select(Path.GetFileName).Order());
    }

    [Fact]
    public void Deleting_takes_one_record_and_needs_none()
    {
        DeviceRecord.Delete(4, Folder);
        Example(4).Save(Folder);
        Example(5).Save(Folder);
        DeviceRecord.Delete(4, Folder);
        DeviceRecord.Delete(4, Folder);
        Assert.Null(DeviceRecord.TryLoad(4, Folder));
        Assert.Equal(Example(5), DeviceRecord.TryLoad(5, Folder));
    }

    [Theory]
    [InlineData(null, 0ul)]
    [InlineData("", 0ul)]
    [InlineData("-1", 0ul)]
    [InlineData("12345678123456781", 0ul)]
    [InlineData("ffffffffffffffff", ulong.MaxValue)]
    [InlineData("ab", 0xabul)]
    public void A_disk_that_is_not_a_number_is_not_known(string? text, ulong number) => Assert.Equal(number, (Example(4) with { Disk = text }).DiskNumber);

    [Fact]
    public void A_record_of_a_program_that_knew_less_is_read()
    {
        string text = Encoding.UTF8.GetString(Save(Example(4), out string file));
        File.WriteAllText(file, text[..text.IndexOf(",\n  \"eventDirectory\"", StringComparison.Ordinal)] + "}");
        Assert.Equal(Example(4) with { EventDirectory = null, Disk = null }, DeviceRecord.TryLoad(4, Folder));
    }

    [Theory]
    [InlineData("/run/muenblock/server-12.log", true)]
    [InlineData("/run/muenblock/mine.log", false)]
    [InlineData("/run/muenblock/server-12.log.old", false)]
    [InlineData("/var/log/server-12.log", false)]
    [InlineData("/run/muenblock/sub/server-12.log", false)]
    public void A_log_that_nobody_named_is_told_by_its_place(string path, bool isServerLog) =>
        Assert.Equal(isServerLog, DeviceRecord.IsServerLog(path));

    [LibraryImport("libc", EntryPoint = "umask")]
    private static partial uint Umask(uint mask);

    private byte[] Save(DeviceRecord record, out string file)
    {
        record.Save(Folder);
        file = $"{Folder}/ublkb{record.Id}.json";
        return File.ReadAllBytes(file);
    }

    internal static DeviceRecord Example(int id, int pid = 77, string? log = null) => new()
    {
        Id = id,
        Path = $"/dev/ublkb{id}",
        Pid = pid,
        Connection = "1:a:b:c",
        RegionDirectory = "/dev/shm",
        DeviceIndex = 2,
        LogFile = log,
        Options = "--spin 50",
        Started = new DateTimeOffset(2026, 1, 2, 3, 4, 5, TimeSpan.Zero),
        EventDirectory = "/events",
        Disk = DeviceRecord.FormatDisk(0xab),
    };
}
