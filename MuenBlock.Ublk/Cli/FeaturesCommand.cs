using System.CommandLine;
using Microsoft.Extensions.Logging;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Cli;

/// <summary>The verb <c>features</c>: what this kernel's driver can do, and what we make of it.</summary>
internal static class FeaturesCommand
{
    private const int Bits = 64;

    private static readonly Option<bool> s_json = new("--json") { Description = "Print JSON: {\"kernel\":…,\"features\":{NAME:true or false, …}}." };

    // In the order of their bits; the names are the kernel's, without UBLK_F_.
    private static readonly (UblkFeatures Feature, string Name, string Use)[] s_known =
    [
        (UblkFeatures.SupportZeroCopy, "SUPPORT_ZERO_COPY", "not used: the driver copies once, into the shared buffer"),
        (UblkFeatures.CommandsCompleteInTask, "URING_CMD_COMP_IN_TASK", "always on"),
        (UblkFeatures.NeedGetData, "NEED_GET_DATA", "not used: every tag has a slot of its own"),
        (UblkFeatures.UserRecovery, "USER_RECOVERY", "devices outlive their server; with USER_RECOVERY_REISSUE"),
        (UblkFeatures.UserRecoveryReissue, "USER_RECOVERY_REISSUE", "what was in flight is issued again; with USER_RECOVERY"),
        (UblkFeatures.UnprivilegedDevice, "UNPRIVILEGED_DEV", "not used: devices are root's"),
        (UblkFeatures.EncodedCommands, "CMD_IOCTL_ENCODE", "required"),
        (UblkFeatures.UserCopy, "USER_COPY", "not used: the driver copies once, into the shared buffer"),
        (UblkFeatures.Zoned, "ZONED", "not used"),
        (UblkFeatures.UserRecoveryFailIo, "USER_RECOVERY_FAIL_IO", "not used: I/O waits"),
        (UblkFeatures.UpdateSize, "UPDATE_SIZE", "a device grows with its disk while it is used; without it, the next add uses the larger size"),
        (UblkFeatures.AutoBufferRegistration, "AUTO_BUF_REG", "not used"),
        (UblkFeatures.Quiesce, "QUIESCE", "upgrade: a server ends what it has before it is replaced; without it, or with BATCH_IO, it is killed"),
        (UblkFeatures.PerIoDaemon, "PER_IO_DAEMON", "not used: one thread serves a queue"),
        (UblkFeatures.BufferRegistrationOffDaemon, "BUF_REG_OFF_DAEMON", "not used"),
        (UblkFeatures.BatchIo, "BATCH_IO", "tags come and go in batches with add --batch auto or on"),
        (UblkFeatures.Integrity, "INTEGRITY", "not used"),
        (UblkFeatures.SafeStopDevice, "SAFE_STOP_DEV", "del: the driver refuses if the device is open; without it, users are looked for"),
        (UblkFeatures.NoAutoPartitionScan, "NO_AUTO_PART_SCAN", "not used: partitions are looked for"),
        (UblkFeatures.SharedMemoryZeroCopy, "SHMEM_ZC", "used with --app-memory: applications' I/O from and to the buffer is not copied"),
        (UblkFeatures.IoDescriptorSize, "IO_DESC_SIZE", "not used"),
    ];

    /// <summary>The verb, for the command line.</summary>
    public static Command Create()
    {
        var command = new Command("features", "Show what this kernel's ublk driver can do, and what of it is used.") { s_json };
        command.SetAction(parsed =>
        {
            using ILoggerFactory logs = LineLog.ToStandardError(LogLevel.Warning);
            using ControlPlane control = ControlPlane.Open(logs.CreateLogger("features"));
            string kernel = KernelRelease.Running(SystemFiles.Machine);
            Console.Out.Write(parsed.GetValue(s_json) ? FormatJson(kernel, control.Features) : FormatTable(kernel, control.Features));
            return (int)ExitCode.Success;
        });
        return command;
    }

    /// <summary>The features as aligned columns.</summary>
    /// <param name="kernel">The kernel's release.</param>
    /// <param name="features">What the driver can do.</param>
    internal static string FormatTable(string kernel, UblkFeatures features) =>
        $"Linux {kernel}, ublk features 0x{(ulong)features:x}\n" + TextTable.Format(
        [
            ["FEATURE", "HERE", "USE"],
            .. s_known.Select(known => (string[])[known.Name, features.HasFlag(known.Feature) ? "yes" : "no", known.Use]),
            .. UnknownBits(features).Select(bit => (string[])[$"bit {bit}", "yes", "unknown to this program"]),
        ]);

    /// <summary>The features as one line of JSON.</summary>
    /// <param name="kernel">The kernel's release.</param>
    /// <param name="features">What the driver can do.</param>
    internal static string FormatJson(string kernel, UblkFeatures features) => JsonText.Format(json =>
    {
        json.WriteString("kernel", kernel);
        json.WriteStartObject("features");
        foreach ((UblkFeatures feature, string name, _) in s_known) json.WriteBoolean(name, features.HasFlag(feature));
        foreach (int bit in UnknownBits(features)) json.WriteBoolean($"bit {bit}", value: true);
        json.WriteEndObject();
    });

    private static IEnumerable<int> UnknownBits(UblkFeatures features)
    {
        ulong unknown = s_known.Aggregate((ulong)features, (rest, known) => rest & ~(ulong)known.Feature);
        return Enumerable.Range(0, Bits).Where(bit => ((unknown >> bit) & 1) != 0);
    }
}
