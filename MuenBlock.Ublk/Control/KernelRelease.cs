using System.Globalization;

namespace MuenBlock.Ublk.Control;

/// <summary>Which kernel this is, and what is known of its ublk driver.</summary>
internal static class KernelRelease
{
    /// <summary>The oldest kernel that is supported: older ones crash when a device ends (CVE-2025-37906, spdk#3384).</summary>
    public const string Oldest = "6.8";

    // ADD_DEV oopses and never returns (actions/runner-images#14175, ublksrv#174), or a command is never run (e2b-dev/ublk-churn-repro).
    private static readonly string[] s_hanging =
        ["6.17.0-1015-azure", "6.17.0-1018-azure", "6.17.0-1017-aws", "6.18.4", "6.18.5", "6.18.40", "7.0.0", "7.0.14"];

    /// <summary>The running kernel's release, as uname -r prints it.</summary>
    /// <param name="system">The machine's files.</param>
    public static string Running(SystemFiles system) => system.Text("/proc/sys/kernel/osrelease") ?? "unknown";

    /// <summary>What to say of a kernel that does not complete a command.</summary>
    /// <param name="release">Its release.</param>
    public static string DescribeHang(string release) =>
        IsKnownToHang(release)
            ? $"this kernel, {release}, is known for control commands that never complete: boot another"
            : string.Create(CultureInfo.InvariantCulture, $"see the kernel's log (dmesg); kernels known to do this are {string.Join(", ", s_hanging)}, and this is {release}");

    /// <summary>Whether a kernel is known for control commands that never complete.</summary>
    /// <param name="release">Its release.</param>
    public static bool IsKnownToHang(string release) =>
        Array.Exists(s_hanging, known => release.StartsWith(known, StringComparison.Ordinal)
            && (release.Length == known.Length || !char.IsAsciiLetterOrDigit(release[known.Length])));
}
