using System.Reflection;
using Microsoft.Extensions.Logging;

namespace MuenBlock.Tests.Shared;

/// <summary>The lines that a program logs.</summary>
internal static class LogEvents
{
    private const BindingFlags Declared = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Static | BindingFlags.Instance | BindingFlags.DeclaredOnly;

    /// <summary>Asserts that an event id belongs to one line of the program.</summary>
    /// <param name="program">Its assemblies.</param>
    public static void AssertHaveOneLineEach(params Assembly[] program)
    {
        // Its name in full, as only one of the projects has it everywhere.
        int[] ids =
        [
            .. program.SelectMany(part => part.GetTypes())
                .SelectMany(type => type.GetMethods(Declared))
                .SelectMany(method => method.GetCustomAttributes<LoggerMessageAttribute>())
                .Select(line => line.EventId)
                .Order(),
        ];
        Xunit.Assert.NotEmpty(ids);
        Xunit.Assert.Equal(ids.Distinct(), ids);
    }
}
