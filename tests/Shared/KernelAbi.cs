using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;

namespace MuenBlock.Tests.Shared;

/// <summary>
/// What C# makes of structs, enums and constants, beside what C makes of them under the C# names, as a program of tests/abi prints it.
/// </summary>
internal sealed class KernelAbi
{
    private readonly SortedDictionary<string, string> _ours = new(StringComparer.Ordinal);

    /// <summary>Adds the members of an enum, or the layout of a struct.</summary>
    /// <param name="type">Either.</param>
    public void Add(Type type)
    {
        if (type.IsEnum)
        {
            foreach (FieldInfo member in type.GetFields(BindingFlags.Public | BindingFlags.Static))
                _ours.Add($"{type.Name}.{member.Name}", Number(member.GetRawConstantValue()!));
            return;
        }

        _ours.Add($"{type.Name}.size", Number(Marshal.SizeOf(type)));
        foreach (FieldInfo field in type.GetFields(BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance))
        {
            Type raw = field.FieldType.IsEnum ? Enum.GetUnderlyingType(field.FieldType) : field.FieldType;
            _ours.Add($"{type.Name}.{field.Name}", Number((long)Marshal.OffsetOf(type, field.Name)));
            _ours.Add($"{type.Name}.{field.Name}.size", Number(raw.IsPointer ? IntPtr.Size : Marshal.SizeOf(raw)));
        }
    }

    /// <summary>Adds the constants of a class, but for those that it keeps to itself.</summary>
    /// <param name="type">The class.</param>
    /// <param name="own">Those that are not the kernel's, and have to be there.</param>
    public void AddConstants(Type type, params string[] own)
    {
        const BindingFlags Constants = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Static;
        foreach (FieldInfo constant in type.GetFields(Constants).Where(field => field.IsLiteral && !field.IsPrivate))
            _ours.Add($"{type.Name}.{constant.Name}", Number(constant.GetRawConstantValue()!));
        foreach (string name in own) Assert.True(_ours.Remove($"{type.Name}.{name}"));
    }

    /// <summary>Asserts that both are the same. A name that one side lacks is a fault, too.</summary>
    /// <param name="source">The C program in tests/abi.</param>
    public void AssertIsThatOf(string source)
    {
        SortedDictionary<string, string> kernels = Kernels(source);
        Assert.NotEmpty(_ours);
        string[] differences =
        [
            .. _ours.Where(line => kernels.GetValueOrDefault(line.Key) != line.Value)
                .Select(line => $"{line.Key}: C# {line.Value}, C {kernels.GetValueOrDefault(line.Key, "has none")}"),
            .. kernels.Keys.Where(name => !_ours.ContainsKey(name)).Select(name => $"{name}: C# has none"),
        ];
        Assert.Empty(differences);
    }

    private static SortedDictionary<string, string> Kernels(string source)
    {
        string folder = Path.Combine(AppContext.BaseDirectory, "abi");
        string program = Path.Combine(Path.GetTempPath(), $"{Path.GetFileNameWithoutExtension(source)}.{Environment.ProcessId}");
        try
        {
            Run("gcc", "-Wall", "-Wextra", "-Werror", "-DPINNED", "-o", program, Path.Combine(folder, source));
            SortedDictionary<string, string> lines = new(StringComparer.Ordinal);
            foreach (string line in Run(program).Split('\n', StringSplitOptions.RemoveEmptyEntries))
            {
                string[] words = line.Split(' ');
                lines.Add(words[0], words[1]);
            }

            return lines;
        }
        finally
        {
            File.Delete(program);
        }
    }

    private static string Run(string program, params string[] arguments)
    {
        ProcessStartInfo start = new(program, arguments)
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using Process process = Process.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{program}: {errors.Result}");
        return output;
    }

    private static string Number(object value) => Convert.ToString(value, CultureInfo.InvariantCulture)!;
}
