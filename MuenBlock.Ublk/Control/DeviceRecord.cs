using System.Text.Json;
using System.Text.Json.Serialization;

namespace MuenBlock.Ublk.Control;

/// <summary>
/// What a serving process leaves in a file about a block device, for those who ask later: what the kernel does not know. A file
/// that is lost or damaged costs these details only; the device itself bears its mark (<see cref="Ownership"/>).
/// </summary>
internal sealed record DeviceRecord
{
    /// <summary>Where the files are.</summary>
    public const string Directory = "/run/muenblock";

    /// <summary>The N of /dev/ublkbN.</summary>
    public required int Id { get; init; }

    /// <summary>The block device.</summary>
    public required string Path { get; init; }

    /// <summary>The serving process.</summary>
    public required int Pid { get; init; }

    /// <summary>The connection string.</summary>
    public required string Connection { get; init; }

    /// <summary>Where the connection's regions are.</summary>
    public required string RegionDirectory { get; init; }

    /// <summary>The device's id on the connection.</summary>
    public required int DeviceIndex { get; init; }

    /// <summary>Where the serving process logs; null for standard error.</summary>
    public required string? LogFile { get; init; }

    /// <summary>Since when the device is served.</summary>
    public required DateTimeOffset Started { get; init; }

    /// <summary>Reads a device's record.</summary>
    /// <param name="id">The device.</param>
    /// <param name="directory">Where the files are.</param>
    /// <returns>The record, or null if there is none that can be read.</returns>
    public static DeviceRecord? TryLoad(int id, string directory = Directory)
    {
        try
        {
            return JsonSerializer.Deserialize(File.ReadAllBytes(FileOf(id, directory)), RecordJson.Default.DeviceRecord);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException or NotSupportedException)
        {
            return null;
        }
    }

    /// <summary>Writes the record, whole or not at all.</summary>
    /// <param name="directory">Where the files are.</param>
    public void Save(string directory = Directory)
    {
        System.IO.Directory.CreateDirectory(directory);
        string file = FileOf(Id, directory);
        File.WriteAllBytes(file + ".new", JsonSerializer.SerializeToUtf8Bytes(this, RecordJson.Default.DeviceRecord));
        File.Move(file + ".new", file, overwrite: true);
    }

    /// <summary>Removes a device's record, if there is one.</summary>
    /// <param name="id">The device.</param>
    /// <param name="directory">Where the files are.</param>
    public static void Delete(int id, string directory = Directory)
    {
        if (System.IO.Directory.Exists(directory)) File.Delete(FileOf(id, directory));
    }

    private static string FileOf(int id, string directory) => System.IO.Path.Combine(directory, $"ublkb{id}.json");
}

/// <summary>The record's form as JSON.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(DeviceRecord))]
internal sealed partial class RecordJson : JsonSerializerContext;
