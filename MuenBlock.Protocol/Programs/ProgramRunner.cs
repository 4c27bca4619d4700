using System.CommandLine;

namespace MuenBlock.Protocol.Programs;

/// <summary>Runs a command line: one clear line on standard error for whatever goes wrong, and the exit code that says what kind it was.</summary>
public static class ProgramRunner
{
    private const string DebugVariable = "MUENBLOCK_DEBUG";

    /// <summary>Parses the arguments and carries out the verb that they name.</summary>
    /// <param name="root">The program's command.</param>
    /// <param name="program">The program's name, which begins every message.</param>
    /// <param name="arguments">The arguments.</param>
    /// <returns>The exit status: an <see cref="ExitCode"/>.</returns>
    public static int Run(RootCommand root, string program, string[] arguments)
    {
        ArgumentNullException.ThrowIfNull(root);
        ArgumentNullException.ThrowIfNull(arguments);
        FileSizeLimit.Lift();
        try
        {
            // A path may begin with '@': response files are not wanted. Nor are directives, which the parser would pass over in silence.
            root.Directives.Clear();
            if (arguments.Length > 0 && arguments[0].StartsWith('[')) return Fail(program, ExitCode.Usage, $"'{arguments[0]}' is not a command. See '{program} --help'.");
            var configuration = new ParserConfiguration { ResponseFileTokenReplacer = null };
            ParseResult parsed = root.Parse(OriginalSpelling.Translate(arguments), configuration);
            if (parsed.Errors.Count > 0 && !AsksForHelp(parsed)) return Fail(program, ExitCode.Usage, DescribeErrors(parsed, program));

            // Signals are the verbs' own business: the library would end the process two seconds after SIGTERM, in the middle of a drain.
            return parsed.Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
        }
        catch (ProgramException failure)
        {
            return Fail(program, failure.ExitCode, failure.Message);
        }
        catch (Exception failure)
        {
            bool debug = !string.IsNullOrEmpty(Environment.GetEnvironmentVariable(DebugVariable));
            return Fail(program, ExitCode.Internal, debug ? failure.ToString() : $"{failure.Message} (this is a fault of the program; {DebugVariable}=1 shows where)");
        }
    }

    private static bool AsksForHelp(ParseResult parsed) =>
        parsed.Tokens.Any(token => token.Value is "--help" or "-h" or "-?" or "--version");

    private static string DescribeErrors(ParseResult parsed, string program)
    {
        string verb = parsed.CommandResult.Command is RootCommand ? program : $"{program} {parsed.CommandResult.Command.Name}";
        string errors = string.Join(" ", parsed.Errors.Select(error => error.Message.TrimEnd('.') + ".")).ReplaceLineEndings(" ");
        return $"{errors} See '{verb} --help'.";
    }

    private static int Fail(string program, ExitCode code, string message)
    {
        try
        {
            Console.Error.WriteLine($"{program}: {message}");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Its disk is full, or it was closed. The code says what kind of failure it is, and service managers go by that.
        }

        return (int)code;
    }
}
