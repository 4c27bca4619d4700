using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace MuenBlock.Ublk.Cli;

/// <summary>JSON for programs to read.</summary>
internal static class JsonText
{
    // What browsers must not see unescaped, such as a plus sign, may stay as it is: this is for a terminal or a pipe.
    private static readonly JsonWriterOptions s_options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>An object as one line.</summary>
    /// <param name="write">Writes what is inside of it.</param>
    public static string Format(Action<Utf8JsonWriter> write)
    {
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream, s_options))
        {
            json.WriteStartObject();
            write(json);
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(stream.ToArray()) + "\n";
    }
}
