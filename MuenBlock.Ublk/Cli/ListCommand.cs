using System.CommandLine;
using System.Text.Json;
using Microsoft.Extensions.Logging;
using MuenBlock.Protocol;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Cli;

/// <summary>The verb <c>list</c>: the ublk devices of this machine, ours and others'.</summary>
internal static class ListCommand
{
    private static readonly Option<bool> s_json = new("--json") { Description = "Print JSON: {\"devices\":[{\"id\":0,\"path\":\"/dev/ublkb0\",\"pid\":123, …}]}; sizes are bytes." };

    /// <summary>The verb, for the command line.</summary>
    public static Command Create()
    {
        var command = new Command("list", "Show the ublk devices of this machine.") { s_json };
        command.SetAction(parsed =>
        {
            ExitCode code = Look(out List<DeviceSummary> devices);
            Console.Out.Write(parsed.GetValue(s_json) ? FormatJson(devices) : FormatTable(devices));
            return (int)code;
        });
        return command;
    }

    /// <summary>The devices as one line of JSON.</summary>
    /// <param name="devices">The devices.</param>
    internal static string FormatJson(IReadOnlyList<DeviceSummary> devices) => JsonText.Format(json =>
    {
        json.WriteStartArray("devices");
        foreach (DeviceSummary device in devices) Write(json, device);
        json.WriteEndArray();
    });

    /// <summary>The devices as aligned columns.</summary>
    /// <param name="devices">The devices.</param>
    internal static string FormatTable(IReadOnlyList<DeviceSummary> devices)
    {
        if (devices.Count == 0) return "no ublk devices\n";
        return TextTable.Format(
        [
            ["DEVICE", "STATE", "SERVER", "SIZE", "BLOCK", "ACCESS", "QUEUES", "DEPTH", "TAGS", "MAX-IO", "CONNECTION"],
            .. devices.Select(device => (string[])
            [
                device.Path,
                device.State,
                device.Pid is { } pid ? $"{pid}" : "none",
                TextTable.Bytes(device.Size),
                TextTable.Bytes((ulong)device.BlockSize),
                device.IsReadOnly ? "ro" : "rw",
                $"{device.Queues}",
                $"{device.Depth}",
                device.IsBatched ? "batch" : "single",
                TextTable.Bytes(device.LargestIo),
                !device.IsOurs ? "(another program's)" : device.Record is { } record ? $"{record.Connection} device {record.DeviceIndex}" : $"(its record is lost) device {device.DeviceIndex}",
            ]),
        ]);
    }

    private static ExitCode Look(out List<DeviceSummary> devices)
    {
        // Without a device there is nothing to ask the driver, which need not even be loaded.
        devices = [];
        IReadOnlyList<int> ids = DeviceDirectory.Ids();
        if (ids.Count == 0) return ExitCode.Success;
        using ILoggerFactory logs = LineLog.ToStandardError(LogLevel.Warning);
        using ControlPlane control = ControlPlane.Open(logs.CreateLogger("list"));
        return Look(ids, id => DeviceSummary.TryRead(control, id, DeviceRecord.Directory), devices, Console.Error);
    }

    /// <summary>Reads devices. One that cannot be read does not hide the others.</summary>
    /// <param name="ids">The devices.</param>
    /// <param name="read">Reads one.</param>
    /// <param name="devices">Gets those that are there.</param>
    /// <param name="errors">Gets a line for each that cannot be read.</param>
    internal static ExitCode Look(IEnumerable<int> ids, Func<int, DeviceSummary?> read, List<DeviceSummary> devices, TextWriter errors)
    {
        var code = ExitCode.Success;
        foreach (int id in ids)
        {
            try
            {
                if (read(id) is { } device) devices.Add(device);
            }
            catch (ProgramException failure)
            {
                errors.WriteLine($"{CommandLine.Program}: {failure.Message}");
                code = failure.ExitCode;
            }
        }

        return code;
    }

    private static void Write(Utf8JsonWriter json, DeviceSummary device)
    {
        json.WriteStartObject();
        json.WriteNumber("id", device.Id);
        json.WriteString("path", device.Path);
        if (device.Pid is { } pid) json.WriteNumber("pid", pid);
        else json.WriteNull("pid");
        json.WriteString("state", device.State);
        json.WriteBoolean("ours", device.IsOurs);
        json.WriteNumber("size", device.Size);
        json.WriteNumber("blockSize", device.BlockSize);
        json.WriteBoolean("readOnly", device.IsReadOnly);
        json.WriteNumber("queues", device.Queues);
        json.WriteNumber("depth", device.Depth);
        json.WriteBoolean("batch", device.IsBatched);
        json.WriteNumber("maxIo", device.LargestIo);
        if (device.DeviceIndex is { } index) json.WriteNumber("device", index);
        if (device.Record is { } record)
        {
            json.WriteString("connection", record.Connection);
            json.WriteStartArray("connections");
            foreach (ConnectionString connection in QueueConnections.TryParse(record.Connection)?.Members ?? []) json.WriteStringValue(connection.ToString());
            json.WriteEndArray();
            json.WriteString("regionDirectory", record.RegionDirectory);
            if (record.ApplicationMemory is { } memory)
            {
                json.WriteStartObject("appMemory");
                json.WriteString("file", memory.File);
                json.WriteNumber("offset", memory.Offset);
                json.WriteNumber("length", memory.Length);
                json.WriteEndObject();
            }

            json.WriteString("logFile", record.LogFile);
            json.WriteString("started", record.Started);
        }

        json.WriteEndObject();
    }
}
