using System.ComponentModel;
using System.Diagnostics;
using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using MuenBlock.Ublk.Control;
using MuenBlock.Ublk.Queues;
using Tmds.Linux;
using static Tmds.Linux.LibC;

namespace MuenBlock.Ublk.Cli;

/// <summary>
/// Runs the serving process behind the caller's back: <c>add</c> starts itself again (so does <c>recover</c>), passes on what that process prints until the
/// devices can be used, and returns. A process that fails first says why on standard error, and its exit code is the caller's.
/// </summary>
internal static partial class BackgroundServer
{
    private const string Variable = "MUENBLOCK_BACKGROUND_SERVER";

    private const int StandardOutput = 1;
    private const uint FirstOther = 3; // after standard input, output and error
    private const int SignalStatus = 128; // a process that a signal ended has this and its number as its status
    private const int CloseOnExec = 4; // CLOSE_RANGE_CLOEXEC, linux/close_range.h

    // Ends the list of paths that the serving process prints. A path begins with a slash.
    private const string ReadyLine = "ready";

    /// <summary>Whether this process was started to be the server.</summary>
    public static bool IsWanted => Environment.GetEnvironmentVariable(Variable) is not null;

    /// <summary>Starts the server and returns when its devices can be used, or when it has failed.</summary>
    /// <param name="arguments">This program's arguments.</param>
    public static ExitCode Launch(IReadOnlyList<string> arguments)
    {
        using Process server = Start(arguments);
        return Await(server, Console.Out, Console.Error);
    }

    /// <summary>Starts the server.</summary>
    /// <param name="arguments">This program's arguments.</param>
    /// <exception cref="ProgramException">It cannot be started.</exception>
    public static Process Start(IReadOnlyList<string> arguments)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            UseShellExecute = false,
        };
        start.Environment[Variable] = "1";

        // What the caller has open is none of the server's: it would keep, of all things, its own device open.
        _ = CloseRange(FirstOther, uint.MaxValue, CloseOnExec);
        try
        {
            Process server = Process.Start(start)!;
            server.StandardInput.Close();
            return server;
        }
        catch (Exception e) when (e is Win32Exception or IOException)
        {
            // Memory and processes may be short, or this program's file has been replaced since it was started.
            throw new ProgramException(ExitCode.Environment, $"cannot start the serving process: {e.Message}", e);
        }
    }

    /// <summary>Waits until the devices of a server can be used, or it has failed.</summary>
    /// <param name="server">The server.</param>
    /// <param name="output">Gets their paths.</param>
    /// <param name="errors">Gets a line if it ends without having said why.</param>
    public static ExitCode Await(Process server, TextWriter output, TextWriter errors)
    {
        string? unsaid = null;
        while (server.StandardOutput.ReadLine() is { } line)
        {
            if (!string.Equals(line, ReadyLine, StringComparison.Ordinal))
            {
                unsaid ??= Print(line, output);
                continue;
            }

            if (unsaid is null) return ExitCode.Success;
            errors.WriteLine($"{CommandLine.Program}: process {server.Id} serves the devices, but their paths cannot be printed ({unsaid}): 'muenblock-ublk list' shows them");
            return ExitCode.Resource;
        }

        server.WaitForExit();
        return CodeOf(server.ExitCode, server.Id, errors);
    }

    /// <summary>Prints a line; returns why it could not. The server needs its reader all the same.</summary>
    private static string? Print(string line, TextWriter output)
    {
        try
        {
            output.WriteLine(line);
            return null;
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            return failure.Message;
        }
    }

    /// <summary>What the end of a server means whose devices could not be used yet. One that found out by itself has said why; one that was ended has not.</summary>
    /// <param name="status">Its exit status.</param>
    /// <param name="pid">The process.</param>
    /// <param name="errors">Where to say it then.</param>
    internal static ExitCode CodeOf(int status, int pid, TextWriter errors)
    {
        if (status is > 0 and <= (int)ExitCode.Kernel) return (ExitCode)status;
        string signal = status > SignalStatus ? $" (signal {status - SignalStatus})" : string.Empty;
        errors.WriteLine(
            $"{CommandLine.Program}: the serving process {pid} ended with status {status}{signal} before its devices could be used: its log ({DeviceRecord.ServerLog(pid)}, or --log-file) or the kernel's (dmesg) may say why; 'muenblock-ublk list' shows what it left");
        return ExitCode.Internal;
    }

    /// <summary>Leaves the caller's session: what interrupts the caller does not reach this process from now on.</summary>
    public static void LeaveSession() => _ = setsid();

    /// <summary>Is the server: leaves the caller's session, and its terminal once the devices can be used.</summary>
    /// <param name="prepare">Finds out what to serve.</param>
    /// <param name="serving">How to serve.</param>
    /// <param name="logFile">Where to, perhaps after what a predecessor wrote; null for a new file that goes with the last device.</param>
    public static ExitCode Serve(Func<IReadOnlyList<ServerOptions>> prepare, ServingArguments serving, string? logFile)
    {
        IReadOnlyList<ServerOptions> options = prepare();
        Environment.SetEnvironmentVariable(Variable, null);
        LeaveSession();
        string path = logFile is null ? DeviceRecord.ServerLog(Environment.ProcessId) : Path.GetFullPath(logFile);
        Environment.CurrentDirectory = "/";
        using SafeFileHandle file = OpenLog(path);
        using ILoggerFactory factory = LineLog.To(file, serving.LogLevel);
        using var signals = new TerminationSignals();
        var server = new ForegroundServer(options, factory.CreateLogger("serve"), path, serving.Sandbox);
        bool ready = false;
        ExitCode code = ExitCode.Internal;
        try
        {
            // Who started this process and has gone, such as by Ctrl-C, which does not reach this session, wants no new devices. Those that are taken over
            // have users, who wait for them.
            bool takesOver = options.Any(connection => connection.Waiting.Count > 0);
            code = server.Run(signals, () => signals.Received || !(takesOver || HasReader(StandardOutput)), () =>
            {
                ready = true;
                Detach(file);
            });
            return code;
        }
        catch (ProgramException failure) when (!ready && failure.ExitCode == ExitCode.Kernel)
        {
            code = failure.ExitCode;
            throw new ProgramException(code, $"{failure.Message}; this process's log: {path}", failure);
        }
        finally
        {
            if (!IsWorthKeeping(code, ready, server.HasLeft, isNew: logFile is null)) ServerLogs.DeleteUnused(path);
        }
    }

    /// <summary>
    /// Whether a log is worth keeping: for a successor, or if the server failed after its caller had gone, before which the caller is told. What it saw while it
    /// waited for the kernel in vain is in the log alone.
    /// </summary>
    /// <param name="code">How the server has ended.</param>
    /// <param name="ready">Whether its devices could be used.</param>
    /// <param name="hasLeft">Whether devices were left to another one.</param>
    /// <param name="isNew">Whether the log is its own, and neither continued nor named.</param>
    internal static bool IsWorthKeeping(ExitCode code, bool ready, bool hasLeft, bool isNew) =>
        ready ? code != ExitCode.Success || hasLeft : code == ExitCode.Kernel || !isNew;

    /// <summary>Whether what is written to a file is still read by somebody; also if it is no pipe.</summary>
    /// <param name="descriptor">The file.</param>
    internal static unsafe bool HasReader(int descriptor)
    {
        // Asked for nothing, poll(2) still tells of a pipe without a reader.
        var file = new pollfd { fd = descriptor };
        return poll(&file, 1, 0) <= 0 || (file.revents & POLLERR) == 0;
    }

    /// <summary>Opens a log, and makes it if it is missing.</summary>
    /// <param name="path">Its full path.</param>
    /// <exception cref="ProgramException">It cannot be written.</exception>
    internal static SafeFileHandle OpenLog(string path)
    {
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!, DeviceRecord.FolderMode);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw CannotWrite(path, e.Message);
        }

        // Every write goes to the end, also where a predecessor that is about to end still writes.
        return PosixFile.TryOpen(path, O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY, out int error, (uint)DeviceRecord.FileMode) ?? throw CannotWrite(path, PosixFile.Describe(error));
    }

    private static ProgramException CannotWrite(string path, string why) => new(ExitCode.Resource, $"cannot write the log file {path}: {why}");

    /// <summary>Tells the caller that all is well and lets go of its files, so that nobody waits for this process to close them.</summary>
    private static void Detach(SafeFileHandle log)
    {
        Console.Out.WriteLine(ReadyLine);
        Console.Out.Flush();
        using SafeFileHandle? nothing = PosixFile.TryOpen("/dev/null", O_RDWR, out _);
        if (nothing is null) return;
        _ = dup2(PosixFile.Descriptor(nothing), 0);
        _ = dup2(PosixFile.Descriptor(nothing), 1);

        // A crash of the runtime is reported on standard error: it belongs into the log.
        _ = dup2(PosixFile.Descriptor(log), 2);
    }

    [LibraryImport("libc", EntryPoint = "close_range")]
    private static partial int CloseRange(uint first, uint last, int flags);
}
