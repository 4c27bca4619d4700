using System.Text.Json;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Cli;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Tests;

/// <summary>What the program prints and how it ends, without a device.</summary>
[Collection(nameof(Console))]
public sealed class CommandLineTests
{
    [Theory]
    [InlineData("", "Required command was not provided.", "'muenblock-ublk --help'")]
    [InlineData("frobnicate", "frobnicate", "'muenblock-ublk --help'")]
    [InlineData("list --frobnicate", "--frobnicate", "'muenblock-ublk list --help'")]
    [InlineData("list 3", "'3'", "'muenblock-ublk list --help'")]
    [InlineData("features --yaml", "--yaml", "'muenblock-ublk features --help'")]
    [InlineData("del", "name the devices to delete, or give --all", "'muenblock-ublk del --help'")]
    [InlineData("del 0 --all", "name the devices to delete, or give --all", "'muenblock-ublk del --help'")]
    [InlineData("recover", "name the devices to take over, or give --all", "'muenblock-ublk recover --help'")]
    [InlineData("recover 0 --all", "name the devices to take over, or give --all", "'muenblock-ublk recover --help'")]
    [InlineData("recover zero", "'zero' is no ublk block device", "give its number, or /dev/ublkbN")]
    [InlineData("del zero", "'zero' is no ublk block device", "give its number, or /dev/ublkbN")]
    [InlineData("del 0 -1", "'-1' is no ublk block device", "give its number")]
    [InlineData("del /dev/sda", "'/dev/sda' is no ublk block device", "give its number")]
    [InlineData("del /dev/0", "'/dev/0' is no ublk block device", "give its number")]
    [InlineData("del 1048576", "'1048576' is no ublk block device", "give its number")]
    public void A_wrong_command_line_is_answered_by_one_line_that_says_where_help_is(string arguments, string what, string help)
    {
        (int code, string output, string errors) = Run(arguments);
        Assert.Equal((int)ExitCode.Usage, code);
        Assert.Empty(output);
        Assert.StartsWith("muenblock-ublk: ", errors, StringComparison.Ordinal);
        Assert.Single(errors, '\n');
        Assert.Contains(what, errors, StringComparison.Ordinal);
        Assert.Contains(help, errors, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(6, ExitCode.Busy, null)]
    [InlineData(137, ExitCode.Internal, "process 77 ended with status 137 (signal 9) before its devices could be used: its log (/run/muenblock/server-77.log, or --log-file)")]
    [InlineData(9, ExitCode.Internal, "with status 9 before")]
    [InlineData(0, ExitCode.Internal, "with status 0 before")]
    public void What_ended_a_server_that_could_not_say_so_itself_is_said_for_it(int status, ExitCode code, string? said)
    {
        using var errors = new StringWriter();
        Assert.Equal(code, BackgroundServer.CodeOf(status, 77, errors));
        Assert.Contains(said ?? string.Empty, errors.ToString(), StringComparison.Ordinal);
        Assert.Equal(said is null ? 0 : 1, errors.ToString().Count(letter => letter == '\n'));
    }

    [Theory]
    [InlineData(ExitCode.Kernel, false, false, true, true)] // the message names it
    [InlineData(ExitCode.Peer, false, false, true, false)]
    [InlineData(ExitCode.Peer, false, true, false, true)]
    [InlineData(ExitCode.Success, true, false, true, false)]
    [InlineData(ExitCode.Success, true, false, false, false)]
    [InlineData(ExitCode.Success, true, true, true, true)]
    [InlineData(ExitCode.Internal, true, false, true, true)]
    public void A_log_is_kept_for_a_successor_and_where_it_says_what_nobody_was_told(ExitCode code, bool ready, bool hasLeft, bool isNew, bool kept) =>
        Assert.Equal(kept, BackgroundServer.IsWorthKeeping(code, ready, hasLeft, isNew));

    [Theory]
    [InlineData("--help", "features")]
    [InlineData("del --help", "--all")]
    [InlineData("recover --help", "--region-dir")]
    [InlineData("list --help", "--json")]
    [InlineData("features --help", "--json")]
    [InlineData("--version", "0.")]
    public void Help_and_version_are_printed(string arguments, string what)
    {
        (int code, string output, string errors) = Run(arguments);
        Assert.Equal(0, code);
        Assert.Contains(what, output, StringComparison.Ordinal);
        Assert.Empty(errors);
    }

    [Fact]
    public void Without_devices_the_list_is_empty_whether_there_is_a_driver_or_not()
    {
        Assert.SkipUnless(DeviceDirectory.Ids().Count == 0, "this machine has ublk devices");
        Assert.Equal((0, "no ublk devices\n", string.Empty), Run("list"));
        Assert.Equal((0, "{\"devices\":[]}\n", string.Empty), Run("list --json"));
        Assert.Equal((0, string.Empty, string.Empty), Run("del --all"));
        Assert.Equal((0, string.Empty, string.Empty), Run("recover --all"));
    }

    [Theory]
    [InlineData("features")]
    [InlineData("del 3")]
    [InlineData("recover 3")]
    public void Without_a_driver_one_line_says_what_to_do(string arguments)
    {
        Assert.SkipWhen(File.Exists(ControlPlane.Path), "this machine has the driver");
        (int code, string output, string errors) = Run(arguments);
        Assert.Equal((int)ExitCode.Environment, code);
        Assert.Empty(output);
        Assert.StartsWith("muenblock-ublk: there is no /dev/ublk-control: ", errors, StringComparison.Ordinal);
        Assert.Single(errors, '\n');
    }

    [Theory]
    [InlineData("0", 0)]
    [InlineData("ublkb7", 7)]
    [InlineData("/dev/ublkb1048575", 1048575)]
    public void A_device_is_named_by_number_or_path(string name, int id) => Assert.Equal(id, DeleteCommand.ParseId(name));

    [Fact]
    public void Features_are_shown_by_the_kernels_names_and_unknown_ones_by_their_bits()
    {
        string table = FeaturesCommand.FormatTable("7.3.4", UblkFeatures.BatchIo | (UblkFeatures)(1ul << 40));
        Assert.StartsWith("Linux 7.3.4, ublk features 0x10000008000\n", table, StringComparison.Ordinal);
        string[] lines = table.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(Enum.GetValues<UblkFeatures>().Length + 3, lines.Length);
        Assert.Contains(lines, line => line.StartsWith("BATCH_IO ", StringComparison.Ordinal) && line.Contains(" yes ", StringComparison.Ordinal));
        Assert.Contains(lines, line => line.StartsWith("SHMEM_ZC ", StringComparison.Ordinal) && line.Contains(" no ", StringComparison.Ordinal));
        Assert.Contains(lines, line => line.StartsWith("bit 40 ", StringComparison.Ordinal) && line.EndsWith("unknown to this program", StringComparison.Ordinal));
    }

    [Fact]
    public void Features_are_numbered_as_the_kernel_names_them()
    {
        // The names come from the C side of the check of the interface.
        string header = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "abi", "ublk_cmd.h"));
        foreach (int bit in Enumerable.Range(0, Enum.GetValues<UblkFeatures>().Length))
        {
            using JsonDocument json = JsonDocument.Parse(FeaturesCommand.FormatJson("7.3.4", (UblkFeatures)(1ul << bit)));
            JsonProperty on = Assert.Single(json.RootElement.GetProperty("features").EnumerateObject(), feature => feature.Value.GetBoolean());
            Assert.Contains($"#define UBLK_F_{on.Name} (1ULL << {bit})\n", header, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Devices_are_listed_as_json_with_what_the_driver_and_the_record_tell()
    {
        string json = ListCommand.FormatJson([Ours(3), Foreign(4)]);
        string expected = """
            {"devices":[
            {"id":3,"path":"/dev/ublkb3","pid":77,"state":"live","ours":true,"size":1610612736,"blockSize":4096,"readOnly":true,"queues":1,"depth":64,"batch":false,"maxIo":1048576,"device":2,"connection":"1:a:b:c","connections":["1:a:b:c"],"regionDirectory":"/dev/shm","logFile":null,"started":"2026-01-02T03:04:05+00:00"},
            {"id":4,"path":"/dev/ublkb4","pid":null,"state":"quiesced","ours":false,"size":0,"blockSize":512,"readOnly":false,"queues":2,"depth":128,"batch":true,"maxIo":524288}
            ]}
            """;
        Assert.Equal(expected.ReplaceLineEndings(string.Empty) + "\n", json);
    }

    [Fact]
    public void A_joined_device_is_listed_with_all_its_connections()
    {
        DeviceSummary joined = Ours(3) with { Record = DeviceRecordTests.Example(3) with { Connection = "1:a:b:c,2:d:e:f" } };
        Assert.Contains("\"connection\":\"1:a:b:c,2:d:e:f\",\"connections\":[\"1:a:b:c\",\"2:d:e:f\"]", ListCommand.FormatJson([joined]), StringComparison.Ordinal);
        Assert.Contains("1:a:b:c,2:d:e:f device 2", ListCommand.FormatTable([joined]), StringComparison.Ordinal);
    }

    [Fact]
    public void Devices_are_listed_in_columns()
    {
        string table = ListCommand.FormatTable([Ours(3), Foreign(4), Ours(5) with { Record = null }, Waiting(6)]);
        string expected = """
            DEVICE       STATE        SERVER  SIZE    BLOCK  ACCESS  QUEUES  DEPTH  TAGS    MAX-IO  CONNECTION
            /dev/ublkb3  live         77      1.5GiB  4KiB   ro      1       64     single  1MiB    1:a:b:c device 2
            /dev/ublkb4  quiesced     none    0B      512B   rw      2       128    batch   512KiB  (another program's)
            /dev/ublkb5  live         77      1.5GiB  4KiB   ro      1       64     single  1MiB    (its record is lost) device 2
            /dev/ublkb6  recoverable  none    1.5GiB  4KiB   ro      1       64     single  1MiB    1:a:b:c device 2

            """;
        Assert.Equal(expected, table);
    }

    [Fact]
    public void A_device_is_read_from_the_driver_and_its_record()
    {
        using var files = new FakeSystem();
        var driver = new FakeDriver();
        driver.Put(3, pid: 77);
        driver.Put(4, ours: false);
        driver.Parameters[3] = Ours(3).Parameters;
        DeviceRecordTests.Example(3).Save(files.Root);
        DeviceRecordTests.Example(4).Save(files.Root);
        using ControlPlane control = driver.OpenPlane();
        DeviceSummary ours = DeviceSummary.TryRead(control, 3, files.Root)!;
        Assert.Equal((3, 77, "live", true, 1610612736ul, true), (ours.Id, ours.Pid, ours.State, ours.IsOurs, ours.Size, ours.IsReadOnly));
        Assert.Equal(DeviceRecordTests.Example(3), ours.Record);
        Assert.Null(DeviceSummary.TryRead(control, 4, files.Root)!.Record);
        Assert.Null(DeviceSummary.TryRead(control, 5, files.Root));
    }

    [Fact]
    public void A_device_that_cannot_be_read_does_not_hide_the_others()
    {
        using var errors = new StringWriter();
        List<DeviceSummary> devices = [];
        ExitCode code = ListCommand.Look(
            [3, 4, 5, 6],
            id => id switch
            {
                3 or 6 => Ours(id),
                4 => throw new ProgramException(ExitCode.Kernel, "it hangs"),
                _ => null,
            },
            devices,
            errors);
        Assert.Equal(ExitCode.Kernel, code);
        Assert.Equal([3, 6], devices.Select(device => device.Id));
        Assert.Equal("muenblock-ublk: it hangs\n", errors.ToString());
    }

    [Fact]
    public void A_device_without_parameters_has_no_block_size() => Assert.Equal(0, new DeviceSummary(default, default, Record: null).BlockSize);

    [Theory]
    [InlineData(0, "0B")]
    [InlineData(1023, "1023B")]
    [InlineData(1024, "1KiB")]
    [InlineData(1536, "1.5KiB")]
    [InlineData(1ul << 60, "1EiB")]
    [InlineData(ulong.MaxValue, "16.0EiB")]
    public void Sizes_are_shown_in_the_largest_unit_that_fits(ulong size, string text) => Assert.Equal(text, TextTable.Bytes(size));

    private static DeviceSummary Ours(int id) => new(
        new DeviceInfo
        {
            DeviceId = (uint)id,
            State = DeviceState.Live,
            ServerPid = 77,
            HardwareQueues = 1,
            QueueDepth = 64,
            LargestIoBytes = 1 << 20,
            ServerFlags = Ownership.Mark(2, OffsetUnit.Sectors, 0),
        },
        new DeviceParameters { Types = ParameterTypes.Basic, Basic = new BasicParameters { Attributes = DeviceAttributes.ReadOnly, LogicalBlockShift = 12, DeviceSectors = 3 << 20 } },
        DeviceRecordTests.Example(id));

    private static DeviceSummary Waiting(int id)
    {
        DeviceSummary served = Ours(id);
        DeviceInfo info = served.Info;
        info.State = DeviceState.Quiesced;
        return served with { Info = info };
    }

    private static DeviceSummary Foreign(int id) => new(
        new DeviceInfo { DeviceId = (uint)id, State = DeviceState.Quiesced, ServerPid = 12, HardwareQueues = 2, QueueDepth = 128, LargestIoBytes = 512 << 10, Flags = UblkFeatures.BatchIo },
        new DeviceParameters { Types = ParameterTypes.Basic, Basic = new BasicParameters { LogicalBlockShift = 9 } },
        Record: null);

    private static (int Code, string Output, string Errors) Run(string? arguments)
    {
        (TextWriter output, TextWriter errors) = (Console.Out, Console.Error);
        using var newOutput = new StringWriter();
        using var newErrors = new StringWriter();
        try
        {
            Console.SetOut(newOutput);
            Console.SetError(newErrors);
            int code = CommandLine.Run((arguments ?? string.Empty).Split(' ', StringSplitOptions.RemoveEmptyEntries));
            return (code, newOutput.ToString(), newErrors.ToString());
        }
        finally
        {
            Console.SetOut(output);
            Console.SetError(errors);
        }
    }
}
