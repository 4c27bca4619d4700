using System.CommandLine;
using System.Text.Json;
using Microsoft.Extensions.Logging.Abstractions;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Cli;

/// <summary>The verb <c>features</c>: what this kernel's driver can do, and what we make of it.</summary>
internal static class FeaturesCommand
{
    private static readonly Option<bool> s_json = new("--json") { Description = "Print JSON." };

    private static readonly (UblkFeatures Feature, string Name, string Use)[] s_known =
    [
        (UblkFeatures.SupportZeroCopy, "SUPPORT_ZERO_COPY", "not used"),
        (UblkFeatures.CommandsCompleteInTask, "URING_CMD_COMP_IN_TASK", "always on"),
        (UblkFeatures.NeedGetData, "NEED_GET_DATA", "not used: every tag has its own slot"),
        (UblkFeatures.UserRecovery, "USER_RECOVERY", "not used yet"),
        (UblkFeatures.UserRecoveryReissue, "USER_RECOVERY_REISSUE", "not used yet"),
        (UblkFeatures.UnprivilegedDevice, "UNPRIVILEGED_DEV", "not used"),
        (UblkFeatures.EncodedCommands, "CMD_IOCTL_ENCODE", "required"),
        (UblkFeatures.UserCopy, "USER_COPY", "not used: the driver copies to the shared buffer itself"),
        (UblkFeatures.Zoned, "ZONED", "not used"),
        (UblkFeatures.UserRecoveryFailIo, "USER_RECOVERY_FAIL_IO", "not used"),
        (UblkFeatures.UpdateSize, "UPDATE_SIZE", "not used yet"),
        (UblkFeatures.AutoBufferRegistration, "AUTO_BUF_REG", "not used"),
        (UblkFeatures.Quiesce, "QUIESCE", "not used yet"),
        (UblkFeatures.PerIoDaemon, "PER_IO_DAEMON", "not needed"),
        (UblkFeatures.BufferRegistrationOffDaemon, "BUF_REG_OFF_DAEMON", "not used"),
        (UblkFeatures.BatchIo, "BATCH_IO", "not used yet"),
        (UblkFeatures.Integrity, "INTEGRITY", "not used"),
        (UblkFeatures.SafeStopDevice, "SAFE_STOP_DEV", "del: without it, openers are looked for in /proc"),
        (UblkFeatures.NoAutoPartitionScan, "NO_AUTO_PART_SCAN", "not used: partitions are scanned"),
        (UblkFeatures.SharedMemoryZeroCopy, "SHMEM_ZC", "not used yet"),
        (UblkFeatures.IoDescriptorSize, "IO_DESC_SIZE", "not used"),
    ];

    /// <summary>The verb, for the command line.</summary>
    public static Command Create()
    {
        var command = new Command("features", "Show what this kernel's ublk driver can do.") { s_json };
        command.SetAction(parsed =>
        {
            using ControlPlane control = ControlPlane.Open(NullLogger.Instance);
            Console.Out.Write(parsed.GetValue(s_json) ? FormatJson(control.Features) : FormatTable(control.Features));
            return 0;
        });
        return command;
    }

    /// <summary>The features as lines of columns: name, yes or no, use.</summary>
    internal static string FormatTable(UblkFeatures features)
    {
        var lines = new List<string> { $"ublk driver of Linux {Environment.OSVersion.Version}, features 0x{(ulong)features:x}" };
        lines.AddRange(s_known.Select(known => $"{known.Name,-24} {(features.HasFlag(known.Feature) ? "yes" : "no "),-4} {known.Use}"));
        lines.AddRange(Unknown(features).Select(bit => $"{$"bit {bit}",-24} yes  unknown to this program"));
        return string.Join('\n', lines) + "\n";
    }

    /// <summary>The features as a JSON object: name to true or false.</summary>
    internal static string FormatJson(UblkFeatures features)
    {
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteString("kernel", Environment.OSVersion.Version.ToString());
            json.WriteStartObject("features");
            foreach ((UblkFeatures feature, string name, _) in s_known) json.WriteBoolean(name, features.HasFlag(feature));
            foreach (int bit in Unknown(features)) json.WriteBoolean($"bit {bit}", value: true);
            json.WriteEndObject();
            json.WriteEndObject();
        }

        return System.Text.Encoding.UTF8.GetString(stream.ToArray()) + "\n";
    }

    private static IEnumerable<int> Unknown(UblkFeatures features) =>
        Enumerable.Range(s_known.Length, 64 - s_known.Length).Where(bit => ((ulong)features >> bit & 1) != 0);
}
