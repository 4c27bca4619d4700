using System.CommandLine;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Logging.Abstractions;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Cli;

/// <summary>The verb <c>list</c>: the ublk devices of this machine, ours and others'.</summary>
internal static class ListCommand
{
    private const int SectorShift = 9;

    private static readonly Option<bool> s_json = new("--json") { Description = "Print JSON: {\"devices\":[{\"id\":0,\"path\":\"/dev/ublkb0\",\"pid\":123, …}]}." };

    /// <summary>What is shown of a device.</summary>
    internal sealed record Row(DeviceInfo Info, DeviceParameters Parameters, DeviceRecord? Record)
    {
        public string Path => $"/dev/ublkb{Info.DeviceId}";

        public bool IsOurs => Ownership.IsOurs(Info);

        public ulong Size => Parameters.Basic.DeviceSectors << SectorShift;

        public int BlockSize => 1 << Parameters.Basic.LogicalBlockShift;

        public bool IsReadOnly => (Parameters.Basic.Attributes & DeviceAttributes.ReadOnly) != 0;

        public string State => Info.State switch
        {
            DeviceState.Dead => "dead",
            DeviceState.Live => "live",
            DeviceState.Quiesced => "quiesced",
            DeviceState.FailIo => "fail-io",
            _ => ((int)Info.State).ToString(CultureInfo.InvariantCulture),
        };
    }

    /// <summary>The verb, for the command line.</summary>
    public static Command Create()
    {
        var command = new Command("list", "Show the ublk devices of this machine.") { s_json };
        command.SetAction(parsed =>
        {
            using ControlPlane control = ControlPlane.Open(NullLogger.Instance);
            Row[] rows = [.. DeviceDirectory.Ids().Select(id => Look(control, id)).OfType<Row>()];
            Console.Out.Write(parsed.GetValue(s_json) ? FormatJson(rows) : FormatTable(rows));
            return 0;
        });
        return command;
    }

    /// <summary>The devices as JSON.</summary>
    internal static string FormatJson(IReadOnlyList<Row> rows)
    {
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream))
        {
            json.WriteStartObject();
            json.WriteStartArray("devices");
            foreach (Row row in rows)
            {
                json.WriteStartObject();
                json.WriteNumber("id", row.Info.DeviceId);
                json.WriteString("path", row.Path);
                json.WriteNumber("pid", row.Info.ServerPid);
                json.WriteString("state", row.State);
                json.WriteBoolean("ours", row.IsOurs);
                json.WriteNumber("size", row.Size);
                json.WriteNumber("blockSize", row.BlockSize);
                json.WriteBoolean("readOnly", row.IsReadOnly);
                json.WriteNumber("queues", row.Info.HardwareQueues);
                json.WriteNumber("depth", row.Info.QueueDepth);
                json.WriteNumber("maxIo", row.Info.LargestIoBytes);
                if (row.Record is { } record)
                {
                    json.WriteString("connection", record.Connection);
                    json.WriteNumber("device", record.DeviceIndex);
                    json.WriteString("regionDirectory", record.RegionDirectory);
                    json.WriteString("logFile", record.LogFile);
                    json.WriteString("started", record.Started);
                }

                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(stream.ToArray()) + "\n";
    }

    /// <summary>The devices as aligned columns.</summary>
    internal static string FormatTable(IReadOnlyList<Row> rows)
    {
        if (rows.Count == 0) return "no ublk devices\n";
        string[][] table =
        [
            ["DEVICE", "STATE", "PID", "SIZE", "BLOCK", "DEPTH", "MAX-IO", "ACCESS", "CONNECTION"],
            .. rows.Select(row => (string[])
            [
                row.Path, row.State, $"{row.Info.ServerPid}", $"{row.Size}", $"{row.BlockSize}", $"{row.Info.QueueDepth}", $"{row.Info.LargestIoBytes}",
                row.IsReadOnly ? "ro" : "rw",
                row.IsOurs ? row.Record?.Connection ?? "unknown: its record is lost" : "another program's",
            ]),
        ];
        int[] widths = [.. Enumerable.Range(0, table[0].Length).Select(column => table.Max(line => line[column].Length))];
        return string.Concat(table.Select(line => string.Join("  ", line.Select((cell, column) => cell.PadRight(widths[column]))).TrimEnd() + "\n"));
    }

    private static Row? Look(ControlPlane control, int id)
    {
        if (control.TryGetInfo(id) is not { } info) return null;
        DeviceRecord? record = Ownership.IsOurs(info) ? DeviceRecord.TryLoad(id) : null;
        try
        {
            return new Row(info, control.GetParameters(id), record);
        }
        catch (Protocol.Programs.ProgramException)
        {
            return new Row(info, default, record); // just added, or just going
        }
    }
}
