using System.Diagnostics;
using System.Runtime.InteropServices;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Cli;

namespace MuenBlock.Ublk.Tests;

/// <summary>Servers that take over the connections of one that is gone. Here they are shells.</summary>
public sealed partial class LaunchedServersTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("muenblock-").FullName;
    private readonly StringWriter _output = new();
    private readonly StringWriter _errors = new();
    private readonly LaunchedServers _servers;

    public LaunchedServersTests() => _servers = new LaunchedServers(Start, _output, _errors);

    public void Dispose()
    {
        Directory.Delete(_directory, recursive: true);
        _output.Dispose();
        _errors.Dispose();
    }

    // The first is ready only after the second has been; one that nobody helps is ended after a while.
    [Fact]
    public void One_that_waits_does_not_hold_up_the_others()
    {
        _servers.Start(["mkfifo fifo; read word <fifo; echo /dev/ublkb0; echo ready"]);
        _servers.Start(["until [ -p fifo ]; do sleep 0.01; done; echo /dev/ublkb1; echo go >fifo; echo ready"]);
        Assert.Equal(ExitCode.Success, _servers.Await());
        Assert.Equal("/dev/ublkb0\n/dev/ublkb1\n", _output.ToString());
        Assert.Empty(_errors.ToString());
    }

    [Fact]
    public void One_that_fails_or_cannot_be_started_does_not_keep_the_others_from_serving()
    {
        _servers.Start(["exit 5"]);
        _servers.Start([]);
        _servers.Start(["echo /dev/ublkb2; echo ready"]);
        Assert.Equal(ExitCode.Peer, _servers.Await());
        Assert.Equal("/dev/ublkb2\n", _output.ToString());
        Assert.Equal("muenblock-ublk: cannot be started\n", _errors.ToString());
    }

    [Fact]
    public void One_whose_paths_cannot_be_printed_serves_and_so_do_the_others()
    {
        using var full = new FullWriter();
        var servers = new LaunchedServers(Start, full, _errors);
        foreach (int id in new[] { 0, 1 }) servers.Start([$"echo /dev/ublkb{id}; echo ready"]);
        Assert.Equal(ExitCode.Resource, servers.Await());
        string[] lines = _errors.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(2, lines.Length);
        Assert.All(lines, line => Assert.Matches("^muenblock-ublk: process [0-9]+ serves the devices, but their paths cannot be printed \\(no space\\): 'muenblock-ublk list' shows them$", line));
    }

    [Fact]
    public void An_upgrade_that_is_interrupted_has_started_them_before_it_ends()
    {
        const int sigterm = 15; // asm/signal.h
        using var signals = new TerminationSignals();
        Assert.Equal(0, Kill(Environment.ProcessId, sigterm));
        _servers.Start(["until [ -e enough ]; do sleep 0.01; done; echo ready"]);
        Assert.Equal(ExitCode.Busy, UpgradeCommand.Await(_servers, signals, _errors));
        Assert.StartsWith("muenblock-ublk: asked to end before all devices were taken over: the new servers go on", _errors.ToString(), StringComparison.Ordinal);
        File.WriteAllText(Path.Combine(_directory, "enough"), string.Empty);
    }

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int process, int signal);

    private sealed class FullWriter : StringWriter
    {
        public override void WriteLine(string? value) => throw new IOException("no space");
    }

    private Process Start(IReadOnlyList<string> arguments) => arguments.Count == 0
        ? throw new ProgramException(ExitCode.Environment, "cannot be started")
        : Process.Start(new ProcessStartInfo("timeout", ["20", "sh", "-c", .. arguments]) { WorkingDirectory = _directory, RedirectStandardOutput = true, UseShellExecute = false })!;
}
