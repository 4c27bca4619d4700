using System.Diagnostics;
using MuenBlock.Protocol.Programs;

namespace MuenBlock.Ublk.Cli;

/// <summary>
/// Servers in the background that take over the connections of one that is gone. All are started before the first is waited for: one whose backend is
/// missing holds up none of the others, and one that cannot be started keeps none of them from being.
/// </summary>
/// <param name="start">Starts a server.</param>
/// <param name="output">Gets what they print.</param>
/// <param name="errors">Gets a line for each that cannot be started, or ends without having said why.</param>
internal sealed class LaunchedServers(Func<IReadOnlyList<string>, Process> start, TextWriter output, TextWriter errors)
{
    private readonly List<Process> _servers = [];
    private ExitCode _code = ExitCode.Success;

    /// <summary>Servers that are this program.</summary>
    public LaunchedServers()
        : this(BackgroundServer.Start, Console.Out, Console.Error)
    {
    }

    /// <summary>Starts a server.</summary>
    /// <param name="arguments">This program's arguments.</param>
    public void Start(IReadOnlyList<string> arguments)
    {
        try
        {
            _servers.Add(start(arguments));
        }
        catch (ProgramException failure)
        {
            errors.WriteLine($"{CommandLine.Program}: {failure.Message}");
            _code = failure.ExitCode;
        }
    }

    /// <summary>Waits until the devices of every server can be used, or it has failed.</summary>
    /// <returns>What the last one that failed has ended with.</returns>
    public ExitCode Await()
    {
        foreach (Process server in _servers)
        {
            ExitCode ended = BackgroundServer.Await(server, output, errors);
            if (ended != ExitCode.Success) _code = ended;
            server.Dispose();
        }

        _servers.Clear();
        return _code;
    }
}
