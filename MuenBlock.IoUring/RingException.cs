using System.Runtime.InteropServices;
using static Tmds.Linux.LibC;

namespace MuenBlock.IoUring;

/// <summary>A ring cannot be had, or is broken. The message says what is wrong and what to do.</summary>
public sealed class RingException : Exception
{
    /// <summary>What to do where the kernel starts no thread.</summary>
    public const string ThreadRemedy = "raise the limit on processes and threads (ulimit -u, LimitNPROC, TasksMax, pids.max)";

    // What the programs ask for (docs/operations.md); the features that are demanded here are older.
    private const string OldestKernel = "Linux 6.1";

    private const string SystemCalls = "io_uring_setup, io_uring_enter and io_uring_register";

    /// <summary>Creates an exception.</summary>
    /// <param name="message">One line: what is wrong and what to do.</param>
    /// <param name="errorNumber">The errno behind it.</param>
    public RingException(string message, int errorNumber)
        : base(message) => ErrorNumber = errorNumber;

    /// <summary>The errno behind it, positive.</summary>
    public int ErrorNumber { get; }

    /// <summary>Explains why io_uring_setup failed.</summary>
    /// <param name="error">Its errno, positive.</param>
    /// <param name="disabled">What /proc/sys/kernel/io_uring_disabled holds; empty if there is no such file.</param>
    internal static RingException OnCreation(int error, string disabled)
    {
        string cause;
        if (error == ENOSYS)
            cause = $"this kernel has no io_uring, or a seccomp filter hides it: use {OldestKernel} or newer, and allow {SystemCalls} in the seccomp profile";
        else if (error == EPERM && disabled == "2")
            cause = "io_uring is switched off for every process: set sysctl kernel.io_uring_disabled to 0, or to 1 and run as root";
        else if (error == EPERM && disabled == "1")
            cause = "io_uring is switched off for most: run as root, join the group of sysctl kernel.io_uring_group, or set kernel.io_uring_disabled to 0";
        else if (error == EPERM)
            cause = $"a security policy forbids io_uring: allow {SystemCalls} in the seccomp profile or the security module's policy";
        else if (error == ENOMEM)
            cause = "no memory for it: raise the limit of locked memory (ulimit -l, LimitMEMLOCK), or the memory limit of the control group";
        else if (error == EMFILE || error == ENFILE)
            cause = "too many open files: raise the limit (ulimit -n, LimitNOFILE)";
        else if (error == EAGAIN)
            cause = $"the kernel can start no thread for it: {ThreadRemedy}"; // with a submission thread
        else if (error == EINVAL)
            cause = $"this kernel does not know rings of this kind: use {OldestKernel} or newer";
        else
            cause = $"{Describe(error)}: this is not expected, report it with the kernel's version";
        return new RingException($"cannot create an io_uring: {cause}", error);
    }

    /// <summary>Says that the kernel's io_uring lacks what every use of it here relies on.</summary>
    internal static RingException OnFeatures(RingFeatures missing) =>
        new($"cannot create an io_uring: kernel too old ({missing} missing): use {OldestKernel} or newer", ENOSYS);

    /// <summary>Explains why the ring's memory cannot be mapped.</summary>
    internal static RingException OnMapping(int error) =>
        new($"cannot map an io_uring ({Describe(error)}): raise the memory limit of the process or of its control group", error);

    /// <summary>Explains why the ring cannot be restricted to some operations.</summary>
    internal static RingException OnRestricting(int error) =>
        new($"cannot restrict an io_uring ({Describe(error)}): use {OldestKernel} or newer, and allow {SystemCalls} in the seccomp profile", error);

    /// <summary>Says that another thread than the owner used the ring.</summary>
    internal static RingException OnForeignThread() =>
        new("an io_uring was entered from another thread than its own: create it on the thread that uses it, or set SingleIssuer to false", EEXIST);

    /// <summary>Explains why io_uring_enter failed.</summary>
    internal static RingException OnEntering(int error)
    {
        if (error == EEXIST) return OnForeignThread();
        string cause;
        if (error == EBADR)
            cause = "the kernel had no memory for completions and lost some: free memory and start again";
        else if (error == EAGAIN)
            cause = "for seconds the kernel had no memory to take an entry: free memory and start again";
        else
            cause = $"{Describe(error)}: this is not expected, report it with the kernel's version";
        return new RingException($"an io_uring broke: {cause}", error);
    }

    private static string Describe(int error) => $"{Marshal.GetPInvokeErrorMessage(error)}, errno {error}";
}
