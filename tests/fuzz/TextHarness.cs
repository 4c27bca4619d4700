using System.Text;
using MuenBlock.Backend.Exports;
using MuenBlock.Protocol;
using MuenBlock.Protocol.Programs;

namespace MuenBlock.Fuzz;

/// <summary>What a user writes on a command line: a text is refused with a usage error, or it means what it says.</summary>
internal static class TextHarness
{
    /// <summary>Connection strings, separated by commas.</summary>
    public static void Connections(ReadOnlySpan<byte> input)
    {
        string text = Encoding.UTF8.GetString(input);
        if (Refused(() => ConnectionString.ParseList(text)) is not { } connections) return;
        Rules.Require(connections.Count == text.Count(character => character == ',') + 1, "each text between commas is a connection");
        foreach (ConnectionString connection in connections)
        {
            Rules.Require(ConnectionString.Parse(connection.ToString()) == connection, $"'{connection}' is read as it was written");
            Rules.Require(connection is { RequestProtocol: not 0, ResponseProtocol: not 0 }, "a protocol id is not 0");
            Rules.Require(
                connection.Request != connection.Response && connection.Request != connection.Buffer && connection.Response != connection.Buffer,
                "the regions differ");
            foreach (string name in (string[])[connection.Request, connection.Response, connection.Buffer])
                Rules.Require(Path.GetFullPath(Path.Combine("/dev/shm", name)) == "/dev/shm/" + name, $"region '{name}' lies in its directory");
        }
    }

    /// <summary>Device strings on the first line, the connections that they name on the second: both are put together.</summary>
    public static void Devices(ReadOnlySpan<byte> input)
    {
        string[] lines = Encoding.UTF8.GetString(input).Split('\n', 2);
        if (Refused(() => DeviceString.ParseList(lines[0])) is not { } devices) return;
        foreach (DeviceString device in devices)
        {
            Rules.Require(device.Path.Length > 0, "a device has a path");
            DeviceString again = DeviceString.Parse($"{device}");
            Rules.Require(again.Path == device.Path && again.Connections.SequenceEqual(device.Connections), $"'{device}' is read as it was written");
        }

        if (lines.Length < 2 || Refused(() => ConnectionString.ParseList(lines[1])) is not { } connections) return;
        if (Refused(() => ExportPlan.Make(connections, devices, readOnly: true)) is not { } plan) return;
        Rules.Require(plan.Count == connections.Count && plan.Sum(export => export.Devices.Count) == devices.Sum(device => device.Connections.Count), "each device is exported once on each of its connections");
        foreach (Export export in plan)
        {
            Rules.Require(
                export.Devices.SequenceEqual(devices.Where(device => device.Connections.Contains(export.Connection.Id))),
                "ids are given in the order of the devices");
        }
    }

    /// <summary>Arguments, one a line, as the original's modules have them or any other.</summary>
    public static void Spelling(ReadOnlySpan<byte> input)
    {
        string[] arguments = Encoding.UTF8.GetString(input).Split('\n');
        string[] translated = OriginalSpelling.Translate(arguments);
        int next = 0;
        foreach (string argument in arguments)
        {
            if (translated[next] == argument)
            {
                next++;
                continue;
            }

            string option = translated[next++];
            string value = translated[next++];
            string name = argument[..(argument.IndexOf('=', StringComparison.Ordinal) + 1)];
            Rules.Require(
                (option, name) is ("--conn", "connections=") or ("--device", "device=") or ("--device", "devices=") && name + value == argument,
                $"'{argument}' became '{option} {value}'");
        }

        Rules.Require(next == translated.Length, "no argument is made up");
    }

    /// <summary>What the text means, or null if it is refused as it should be: with a usage error that says why.</summary>
    private static T? Refused<T>(Func<T> read)
        where T : class
    {
        try
        {
            return read();
        }
        catch (ProgramException refusal)
        {
            Rules.Require(refusal.ExitCode == ExitCode.Usage && refusal.Message.Length > 0, $"refused with {refusal.ExitCode}");
            return null;
        }
    }
}
