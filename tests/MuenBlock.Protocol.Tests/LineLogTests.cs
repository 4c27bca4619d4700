using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.RegularExpressions;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using Xunit;
using static Tmds.Linux.LibC;

namespace MuenBlock.Protocol.Tests;

/// <summary>A log is written at once or not at all, whoever reads it.</summary>
public sealed unsafe partial class LineLogTests : IDisposable
{
    private const int Lines = 300; // of a kilobyte: more than a pipe, a socket or a terminal keeps
    private const int QuietMilliseconds = 500;
    private const uint UnlockTerminal = 0x4004_5431; // TIOCSPTLCK, asm-generic/ioctls.h
    private const uint OpenTerminal = 0x5441; // TIOCGPTPEER

    private readonly string _folder = Directory.CreateTempSubdirectory("muenblock-test-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("pipe")]
    [InlineData("socket")]
    [InlineData("terminal")]
    public void A_line_that_nobody_takes_is_dropped_and_counted_and_holds_up_nobody(string kind)
    {
        (SafeFileHandle reader, SafeFileHandle writer) = Open(kind);
        using (reader)
        using (writer)
        using (ILoggerFactory factory = LineLog.To(writer, LogLevel.Information))
        {
            ILogger log = factory.CreateLogger("test");
            string padding = new('x', 1000);
            var connection = new Thread(() => Write(log, padding)) { IsBackground = true };
            connection.Start();
            Assert.True(connection.Join(TimeSpan.FromSeconds(30)), "the log holds up whoever writes to it");
            string text = Read(reader);
            LogLast(log);
            text += Read(reader);

            // A terminal may take a part of a line, and more lines after a while.
            string[] lines = text.ReplaceLineEndings("\n").Split('\n');
            int whole = lines.Count(line => Whole().IsMatch(line));
            Assert.InRange(whole, 1, Lines - 1);
            Assert.Equal(Lines, whole + lines.Sum(line => Lost().Match(line) is { Success: true } lost ? int.Parse(lost.Groups["count"].Value, CultureInfo.InvariantCulture) : 0));
            Assert.Matches(Lost(), lines[^3]);
            Assert.EndsWith(" info  the last", lines[^2], StringComparison.Ordinal);
            Assert.Empty(lines[^1]);
        }
    }

    [Fact]
    public void What_is_shared_with_other_programs_goes_on_blocking_for_them()
    {
        (SafeFileHandle reader, SafeFileHandle writer) = Open("pipe");
        using (reader)
        using (writer)
        using (ILoggerFactory factory = LineLog.To(writer, LogLevel.Information))
        {
            LogLast(factory.CreateLogger("test"));
            Assert.Equal(0, fcntl(PosixFile.Descriptor(writer), F_GETFL) & O_NONBLOCK);
        }
    }

    [Fact]
    public void A_reader_that_is_gone_costs_lines_only()
    {
        (SafeFileHandle reader, SafeFileHandle writer) = Open("pipe");
        using (writer)
        using (ILoggerFactory factory = LineLog.To(writer, LogLevel.Information))
        {
            reader.Dispose();
            LogLine(factory.CreateLogger("test"), 1, "nobody reads this");

            // A pipe takes more as soon as somebody reads it again.
            using SafeFileHandle another = PosixFile.TryOpen($"/proc/self/fd/{PosixFile.Descriptor(writer)}", O_RDONLY | O_NONBLOCK, out _)!;
            LogLast(factory.CreateLogger("test"));
            string[] lines = Read(another).Split('\n');
            Assert.Equal("1", Lost().Match(lines[0]).Groups["count"].Value);
            Assert.EndsWith(" info  the last", lines[1], StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_log_goes_on_where_another_opening_of_its_file_ended()
    {
        using (SafeFileHandle one = Append())
        using (SafeFileHandle other = Append())
        using (ILoggerFactory first = LineLog.To(one, LogLevel.Information))
        using (ILoggerFactory second = LineLog.To(other, LogLevel.Information))
        {
            for (int i = 0; i < 2; i++)
            {
                LogLine(first.CreateLogger("test"), 1, "first");
                LogLine(second.CreateLogger("test"), 2, "second");
            }
        }

        Assert.Equal(["1 first", "2 second", "1 first", "2 second"], File.ReadAllLines($"{_folder}/log").Select(line => line.Split(" info  ")[1]));
    }

    [Theory]
    [InlineData("x")]
    [InlineData("xä")]
    public void A_line_that_a_pipe_might_not_take_at_once_is_cut_between_two_characters_and_a_file_has_all_of_it(string text)
    {
        string padding = string.Concat(Enumerable.Repeat(text, 5_000));
        using (SafeFileHandle file = Append())
        using (ILoggerFactory factory = LineLog.To(file, LogLevel.Information)) LogLine(factory.CreateLogger("test"), 1, padding);
        Assert.Contains(padding, File.ReadAllText($"{_folder}/log"), StringComparison.Ordinal);

        (SafeFileHandle reader, SafeFileHandle writer) = Open("pipe");
        using (reader)
        using (writer)
        using (ILoggerFactory factory = LineLog.To(writer, LogLevel.Information))
        {
            LogLine(factory.CreateLogger("test"), 1, padding);
            LogLast(factory.CreateLogger("test"));
            string[] lines = Read(reader).Split('\n');
            Assert.InRange(Encoding.UTF8.GetByteCount(lines[0]), 4094, 4095);
            Assert.EndsWith(lines[0][^1].ToString(), text, StringComparison.Ordinal);
            Assert.DoesNotContain('\ufffd', lines[0]);
            Assert.EndsWith(" info  the last", lines[1], StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_log_closes_what_it_opened_with_its_factory()
    {
        int before = Directory.GetFiles("/proc/self/fd").Length;
        (SafeFileHandle reader, SafeFileHandle writer) = Open("pipe");
        using (reader)
        using (writer)
        {
            for (int i = 0; i < 100; i++) LineLog.To(writer, LogLevel.Information).Dispose();
            Assert.InRange(Directory.GetFiles("/proc/self/fd").Length, 0, before + 50);
        }
    }

    private SafeFileHandle Append() => PosixFile.TryOpen($"{_folder}/log", O_WRONLY | O_CREAT | O_APPEND, out _, 0b110_000_000)!;

    private static void Write(ILogger log, string padding)
    {
        for (int i = 0; i < Lines; i++) LogLine(log, i, padding);
    }

    private static (SafeFileHandle Reader, SafeFileHandle Writer) Open(string kind)
    {
        int* ends = stackalloc int[2];
        int error = kind switch
        {
            "pipe" => pipe2(ends, O_CLOEXEC),
            "socket" => OpenSocketPair(ends),
            _ => OpenTerminalPair(ends),
        };
        Assert.Equal(0, error);
        return (new SafeFileHandle(ends[0], ownsHandle: true), new SafeFileHandle(ends[1], ownsHandle: true));
    }

    private static int OpenSocketPair(int* ends)
    {
        // How much a socket keeps is a setting of the machine.
        int kept = 65_536;
        int error = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
        return error != 0 ? error : setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &kept, sizeof(int));
    }

    private static int OpenTerminalPair(int* ends)
    {
        SafeFileHandle? control = PosixFile.TryOpen("/dev/ptmx", O_RDWR | O_NOCTTY, out _);
        Assert.SkipWhen(control is null, "this machine has no terminals");
        int locked = 0;
        ends[0] = PosixFile.Descriptor(control!);
        control!.SetHandleAsInvalid();
        Assert.Equal(0, Ioctl(ends[0], UnlockTerminal, (nint)(&locked)));
        ends[1] = Ioctl(ends[0], OpenTerminal, O_RDWR | O_NOCTTY | O_CLOEXEC);
        return ends[1] < 0 ? ends[1] : 0;
    }

    // What a terminal was given arrives a moment later.
    private static string Read(SafeFileHandle reader)
    {
        var bytes = new List<byte>();
        byte* buffer = stackalloc byte[4096];
        var ready = new Tmds.Linux.pollfd { fd = PosixFile.Descriptor(reader), events = POLLIN };
        while (poll(&ready, 1, QuietMilliseconds) == 1)
        {
            int count = (int)read(ready.fd, buffer, 4096);
            Assert.True(count > 0);
            bytes.AddRange(new ReadOnlySpan<byte>(buffer, count));
        }

        return Encoding.UTF8.GetString([.. bytes]);
    }

    [GeneratedRegex(@"^\S+Z info  \d+ x{1000}$", RegexOptions.None, 1000)]
    private static partial Regex Whole();

    [GeneratedRegex(@"^\S+Z warn  (?<count>\d+) line\(s\) lost: the reader of the log is slow, or its disk full$", RegexOptions.None, 1000)]
    private static partial Regex Lost();

    [LibraryImport("libc", EntryPoint = "ioctl")]
    private static partial int Ioctl(int descriptor, nuint request, nint argument);

    [LoggerMessage(1, LogLevel.Information, "{Number} {Text}")]
    private static partial void LogLine(ILogger log, int number, string text);

    [LoggerMessage(2, LogLevel.Information, "the last")]
    private static partial void LogLast(ILogger log);
}
