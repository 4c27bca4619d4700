using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;

namespace MuenBlock.Ublk.Control;

/// <summary>
/// What a serving process leaves in a file about a block device, for those who ask later: what the kernel does not know. A file
/// that is lost or damaged costs these details only: the device itself bears its mark (<see cref="Ownership"/>), and who recovers it
/// names its connection again.
/// </summary>
internal sealed record DeviceRecord
{
    /// <summary>Where the files are.</summary>
    public const string Directory = "/run/muenblock";

    /// <summary>Who may do what with the folder: root changes it, all read it, whatever the umask is. Root obeys what is in it.</summary>
    public const UnixFileMode FolderMode =
        UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute
        | UnixFileMode.GroupRead | UnixFileMode.GroupExecute | UnixFileMode.OtherRead | UnixFileMode.OtherExecute;

    /// <summary>The same for the files.</summary>
    public const UnixFileMode FileMode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead;

    /// <summary>The N of /dev/ublkbN.</summary>
    public required int Id { get; init; }

    /// <summary>The block device.</summary>
    public required string Path { get; init; }

    /// <summary>The serving process.</summary>
    public required int Pid { get; init; }

    /// <summary>The connection string; those of joined connections separated by commas, in the order of their queues.</summary>
    public required string Connection { get; init; }

    /// <summary>Where the connections' regions are.</summary>
    public required string RegionDirectory { get; init; }

    /// <summary>The device's id on the connection.</summary>
    public required int DeviceIndex { get; init; }

    /// <summary>Where the serving process logs; null for standard error.</summary>
    public required string? LogFile { get; init; }

    /// <summary>How the connection is served, as options of the command line; what a successor goes on with unless it is told otherwise.</summary>
    public required string Options { get; init; }

    /// <summary>The part of the buffer from and to which applications' I/O is not copied; null where there is none.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public ApplicationMemory? ApplicationMemory { get; init; }

    /// <summary>Since when the device is served.</summary>
    public required DateTimeOffset Started { get; init; }

    /// <summary>Where the events of channels are; null if there are none.</summary>
    public string? EventDirectory { get; init; }

    /// <summary>The <see cref="DiskNumber"/> in hexadecimal digits; null if it is not known.</summary>
    public string? Disk { get; init; }

    /// <summary>When the server was last asked for the size of its disk by hand; null if it was not.</summary>
    public DateTimeOffset? SizeAsked { get; init; }

    /// <summary>What it answered, in bytes; 0 if it did not.</summary>
    public ulong ServerSize { get; init; }

    /// <summary>Which disk the device was made of (<see cref="RequestKind.Identity"/>); 0 if that is not known.</summary>
    [JsonIgnore]
    public ulong DiskNumber => ulong.TryParse(Disk, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong number) ? number : 0;

    /// <summary>The form in which a record has a number for a disk.</summary>
    /// <param name="number">The number; 0 if it is not known.</param>
    public static string? FormatDisk(ulong number) => number == 0 ? null : number.ToString("x16", CultureInfo.InvariantCulture);

    /// <summary>Reads a device's record.</summary>
    /// <param name="id">The device.</param>
    /// <param name="directory">Where the files are.</param>
    /// <returns>The record, or null if there is none that can be read.</returns>
    public static DeviceRecord? TryLoad(int id, string directory = Directory)
    {
        try
        {
            DeviceRecord? record = JsonSerializer.Deserialize(File.ReadAllBytes(FileOf(id, directory)), RecordJson.Default.DeviceRecord);
            return record?.Id == id ? record : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            return null;
        }
    }

    /// <summary>All records that can be read.</summary>
    /// <param name="directory">Where the files are.</param>
    public static IEnumerable<DeviceRecord> All(string directory = Directory)
    {
        const string prefix = "ublkb";
        return new DirectoryInfo(directory).EnumerateFiles($"{prefix}*.json")
            .Select(file => int.TryParse(System.IO.Path.GetFileNameWithoutExtension(file.Name.AsSpan(prefix.Length)), NumberStyles.None, CultureInfo.InvariantCulture, out int id) ? TryLoad(id, directory) : null)
            .OfType<DeviceRecord>();
    }

    /// <summary>Where a serving process logs that was not told where.</summary>
    /// <param name="pid">The process.</param>
    /// <param name="directory">Where the files are.</param>
    public static string ServerLog(int pid, string directory = Directory) => System.IO.Path.Combine(directory, $"server-{pid}.log");

    /// <summary>Whether a log is one that nobody named, which goes with the last device: perhaps that of a predecessor, to which its successors add.</summary>
    /// <param name="path">The log.</param>
    /// <param name="directory">Where the files are.</param>
    public static bool IsServerLog(string path, string directory = Directory) =>
        System.IO.Path.GetDirectoryName(path) == directory
        && System.IO.Path.GetFileName(path) is { } name && name.StartsWith("server-", StringComparison.Ordinal) && name.EndsWith(".log", StringComparison.Ordinal);

    /// <summary>Writes the record, whole or not at all.</summary>
    /// <param name="directory">Where the files are. It is made if it is missing, for all to read.</param>
    /// <exception cref="ProgramException">It cannot be written.</exception>
    public void Save(string directory = Directory)
    {
        string file = FileOf(Id, directory);
        string part = $"{file}.{Environment.ProcessId}";
        try
        {
            System.IO.Directory.CreateDirectory(directory, FolderMode);
            using (var written = new FileStream(part, new FileStreamOptions { Mode = System.IO.FileMode.Create, Access = FileAccess.Write, UnixCreateMode = FileMode }))
                written.Write(JsonSerializer.SerializeToUtf8Bytes(this, RecordJson.Default.DeviceRecord));
            File.Move(part, file, overwrite: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ProgramException(ExitCode.Resource, $"cannot write {file}: {e.Message}", e);
        }
    }

    /// <summary>Removes a device's record, if there is one that can be removed, and what processes left of one that were killed while they wrote it.</summary>
    /// <param name="id">The device.</param>
    /// <param name="directory">Where the files are.</param>
    public static void Delete(int id, string directory = Directory)
    {
        try
        {
            if (!System.IO.Directory.Exists(directory)) return;
            File.Delete(FileOf(id, directory));
            foreach (string part in System.IO.Directory.GetFiles(directory, $"ublkb{id}.json.*"))
            {
                string pid = System.IO.Path.GetExtension(part)[1..];
                if (!System.IO.Directory.Exists($"/proc/{pid}")) File.Delete(part);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The device is gone, and the next one with its id writes over the record.
        }
    }

    /// <summary>The file of a device's record.</summary>
    /// <param name="id">The device.</param>
    /// <param name="directory">Where the files are.</param>
    public static string FileOf(int id, string directory = Directory) => System.IO.Path.Combine(directory, $"ublkb{id}.json");
}

/// <summary>The record's form as JSON.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true, RespectNullableAnnotations = true)]
[JsonSerializable(typeof(DeviceRecord))]
internal sealed partial class RecordJson : JsonSerializerContext;
