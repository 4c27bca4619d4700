using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;
using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Tests;

/// <summary>
/// Every struct, enum and constant of the driver's interface is the kernel's: tests/abi/ublk_abi.c prints what C makes of them, under
/// the C# names. A name that one side lacks is a fault, too.
/// </summary>
public sealed class AbiTests
{
    // Types beside the structures that are not the kernel's.
    private static readonly Type[] s_ownTypes = [typeof(CommandEnd)];

    // A constant of the driver's source, which its header does not give.
    private static readonly string[] s_ownConstants = ["UblkLimits.LargestId"];

    [Fact]
    public void Layouts_and_constants_are_those_of_the_kernel()
    {
        SortedDictionary<string, string> ours = Ours();
        SortedDictionary<string, string> kernels = Kernels();
        Assert.NotEmpty(ours);
        string[] differences =
        [
            .. ours.Where(line => kernels.GetValueOrDefault(line.Key) != line.Value)
                .Select(line => $"{line.Key}: C# {line.Value}, C {kernels.GetValueOrDefault(line.Key, "has none")}"),
            .. kernels.Keys.Where(name => !ours.ContainsKey(name)).Select(name => $"{name}: C# has none"),
        ];
        Assert.Empty(differences);
    }

    private static SortedDictionary<string, string> Ours()
    {
        SortedDictionary<string, string> lines = new(StringComparer.Ordinal);
        Type[] types = [.. typeof(ControlCommand).Assembly.GetTypes().Where(type => type.Namespace == typeof(ControlCommand).Namespace && !type.IsNested)];
        foreach (Type type in types.Except(s_ownTypes))
        {
            if (type.IsEnum)
            {
                foreach (FieldInfo member in type.GetFields(BindingFlags.Public | BindingFlags.Static))
                    lines.Add($"{type.Name}.{member.Name}", Number(member.GetRawConstantValue()!));
            }
            else if (type.IsExplicitLayout)
            {
                lines.Add($"{type.Name}.size", Number(Marshal.SizeOf(type)));
                foreach (FieldInfo field in type.GetFields(BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance))
                {
                    Type raw = field.FieldType.IsEnum ? Enum.GetUnderlyingType(field.FieldType) : field.FieldType;
                    lines.Add($"{type.Name}.{field.Name}", Number((long)Marshal.OffsetOf(type, field.Name)));
                    lines.Add($"{type.Name}.{field.Name}.size", Number(Marshal.SizeOf(raw)));
                }
            }
        }

        foreach (Type type in (Type[])[typeof(UblkCommands), typeof(UblkLimits)])
        {
            foreach (FieldInfo constant in type.GetFields(BindingFlags.Public | BindingFlags.Static))
                lines.Add($"{type.Name}.{constant.Name}", Number(constant.GetRawConstantValue()!));
        }

        foreach (string name in s_ownConstants) Assert.True(lines.Remove(name));
        return lines;
    }

    private static SortedDictionary<string, string> Kernels()
    {
        string folder = Path.Combine(AppContext.BaseDirectory, "abi");
        string program = Path.Combine(Path.GetTempPath(), $"ublk_abi.{Environment.ProcessId}");
        try
        {
            Run("gcc", "-Wall", "-Wextra", "-Werror", "-DPINNED", "-o", program, Path.Combine(folder, "ublk_abi.c"));
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
