using MuenBlock.IoUring;

namespace MuenBlock.Protocol.Programs;

/// <summary>Starts threads.</summary>
public static class Threads
{
    /// <summary>Starts a thread.</summary>
    /// <param name="thread">The thread.</param>
    /// <exception cref="ProgramException">The system has no room for another one.</exception>
    public static void Start(Thread thread)
    {
        ArgumentNullException.ThrowIfNull(thread);
        Start(thread.Start);
    }

    /// <summary>Starts a thread in some way.</summary>
    /// <param name="start">The way.</param>
    internal static void Start(Action start)
    {
        try
        {
            start();
        }
        catch (Exception e) when (e is OutOfMemoryException or ThreadStartException)
        {
            // The runtime says "insufficient memory" for whatever clone(2) fails with, which is EAGAIN at a limit.
            throw new ProgramException(ExitCode.Environment, $"a thread cannot be started: {RingException.ThreadRemedy}, or free memory", e);
        }
    }
}
