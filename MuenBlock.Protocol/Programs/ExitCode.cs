namespace MuenBlock.Protocol.Programs;

/// <summary>What a program's exit status says. The numbers are part of the interface: docs/operations.md lists them.</summary>
public enum ExitCode
{
    /// <summary>The program did what it was asked.</summary>
    Success = 0,

    /// <summary>A fault of the program itself; the log says where.</summary>
    Internal = 1,

    /// <summary>The command line is wrong: an unknown option, a malformed connection string, a value out of its range.</summary>
    Usage = 2,

    /// <summary>The machine lacks something: a kernel feature, the ublk module, a privilege.</summary>
    Environment = 3,

    /// <summary>A region, a disk or a file cannot be opened, mapped or used as it is.</summary>
    Resource = 4,

    /// <summary>The other end did not answer in time, or speaks another protocol.</summary>
    Peer = 5,

    /// <summary>Something is in use and is not taken away from its user.</summary>
    Busy = 6,

    /// <summary>The device that was named does not exist, is not ours, or has nothing to be recovered.</summary>
    NotFound = 7,

    /// <summary>The kernel did not complete a command within its deadline, or refused it; or the backend ended with I/O under way.</summary>
    Kernel = 8,
}
