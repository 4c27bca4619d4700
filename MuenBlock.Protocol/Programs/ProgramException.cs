namespace MuenBlock.Protocol.Programs;

/// <summary>
/// A failure that ends the program, worded for the person who started it: what is wrong and what to do.
/// The program prints the message as one line on standard error and exits with <see cref="ExitCode"/>.
/// </summary>
public sealed class ProgramException : Exception
{
    /// <summary>Creates a failure.</summary>
    /// <param name="exitCode">The exit status, never <see cref="ExitCode.Success"/>.</param>
    /// <param name="message">One line: what is wrong and, where something can be done, what.</param>
    public ProgramException(ExitCode exitCode, string message)
        : base(message) => ExitCode = exitCode;

    /// <summary>Creates a failure that another exception led to.</summary>
    /// <param name="exitCode">The exit status, never <see cref="ExitCode.Success"/>.</param>
    /// <param name="message">One line: what is wrong and, where something can be done, what.</param>
    /// <param name="cause">What led to it.</param>
    public ProgramException(ExitCode exitCode, string message, Exception cause)
        : base(message, cause) => ExitCode = exitCode;

    /// <summary>The status that the program exits with.</summary>
    public ExitCode ExitCode { get; }
}
