using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using MuenBlock.Backend.Exports;
using MuenBlock.Backend.Serving;
using MuenBlock.Protocol;
using MuenBlock.Protocol.Programs;

namespace MuenBlock.Backend.Cli;

/// <summary>What <c>serve</c> was asked to do.</summary>
internal sealed class ServeOptions
{
    /// <summary>The connections.</summary>
    public required IReadOnlyList<ConnectionString> Connections { get; init; }

    /// <summary>The devices, in the order of their ids.</summary>
    public required IReadOnlyList<DeviceString> Devices { get; init; }

    /// <summary>Where the regions are.</summary>
    public required string RegionDirectory { get; init; }

    /// <summary>Whether missing regions are made.</summary>
    public required bool CreateRegions { get; init; }

    /// <summary>Whether the disks are only read.</summary>
    public required bool ReadOnly { get; init; }

    /// <summary>Whether the disks' I/O schedulers are left as they are.</summary>
    public required bool KeepScheduler { get; init; }

    /// <summary>How each connection is served.</summary>
    public required ConnectionOptions Serving { get; init; }

    /// <summary>On which CPUs the connections' threads run.</summary>
    public required CpuChoice Cpus { get; init; }

    /// <summary>Whom to become; null to stay.</summary>
    public required string? User { get; init; }

    /// <summary>Whether to give up what serving does not need.</summary>
    public required bool Sandbox { get; init; }

    /// <summary>The least severe lines that are logged.</summary>
    public required LogLevel LogLevel { get; init; }
}

/// <summary>What no single option can be blamed for.</summary>
internal sealed class ServeOptionsValidator : IValidateOptions<ServeOptions>
{
    // A thread each; a machine that needs more has a larger problem than this bound.
    private const int MostConnections = 1024;

    /// <inheritdoc/>
    public ValidateOptionsResult Validate(string? name, ServeOptions options)
    {
        var result = new ValidateOptionsResultBuilder();
        if (options.Connections.Count > MostConnections)
            result.AddError($"{options.Connections.Count} connections are too many: {MostConnections} are the most");
        if (options.CreateRegions && options.RegionDirectory.Length > 0 && Path.TrimEndingDirectorySeparator(Path.GetFullPath(options.RegionDirectory)) == Protocol.Regions.RegionDirectory.Muen)
            result.AddError($"--create-regions makes no sense in {options.RegionDirectory}: there the separation kernel's policy defines the regions");
        if (options.User is not null && !Protocol.Sandboxing.Privileges.IsUser(options.User)) result.AddError($"--user '{options.User}': there is no such user");
        if (options.RegionDirectory.Length == 0) result.AddError("--region-dir is empty: name a directory");
        return result.Build();
    }
}
