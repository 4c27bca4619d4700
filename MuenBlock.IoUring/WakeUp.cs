using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using static Tmds.Linux.LibC;

namespace MuenBlock.IoUring;

/// <summary>
/// Wakes the thread of a ring from another thread: an eventfd(2). The ring's thread keeps a read of it as an entry; a signal
/// completes it. A signal that comes while none is armed is kept, and completes the next one at once.
/// </summary>
public sealed unsafe partial class WakeUp : IDisposable
{
    private const int CounterSize = sizeof(ulong);

    // What all reads of all wake-ups go to. Nobody looks at it, and it is never freed: the kernel may still write there after
    // the ring and the wake-up of an armed read are gone.
    private static readonly void* s_sink = NativeMemory.AllocZeroed(CounterSize);

    private readonly SafeFileHandle _file;

    /// <summary>Creates a wake-up that is not signalled.</summary>
    /// <exception cref="RingException">There are too many open files.</exception>
    public WakeUp()
    {
        // Blocking: a ring waits for it all the same, and a write never finds the counter full.
        int descriptor = eventfd(0, EFD_CLOEXEC);
        if (descriptor < 0) throw new RingException("no eventfd to be had: raise the limit of open files (ulimit -n, LimitNOFILE)", errno);
        _file = new SafeFileHandle(descriptor, ownsHandle: true);
    }

    /// <summary>Wakes the ring's thread. Any thread may call it, also after <see cref="Dispose"/>, when it does nothing.</summary>
    public void Signal()
    {
        ulong one = 1;
        try
        {
            // Interrupted by a signal before it wrote anything: again. The counter cannot overflow within a process's life.
            while (Write(_file, &one, CounterSize) < 0 && Marshal.GetLastPInvokeError() == EINTR)
            {
            }
        }
        catch (ObjectDisposedException)
        {
            // Its ring's thread is gone: there is nobody left to wake.
        }
    }

    /// <summary>Queues an entry that completes, with a positive result, at the next signal. Each completion needs a new one.</summary>
    /// <param name="ring">The ring, on its thread.</param>
    /// <param name="userData">The user data of the completion.</param>
    public void Arm(Ring ring, ulong userData)
    {
        ArgumentNullException.ThrowIfNull(ring);
        ObjectDisposedException.ThrowIf(_file.IsClosed, this);
        ref SubmissionEntry entry = ref ring.NextEntry();
        entry.PrepareRead((int)_file.DangerousGetHandle(), s_sink, CounterSize, 0);
        entry.UserData = userData;
    }

    /// <summary>Waits without a ring until it is signalled, and takes the signal.</summary>
    /// <exception cref="RingException">It cannot be waited for.</exception>
    public void Wait()
    {
        ulong count;
        while (Read(_file, &count, CounterSize) < 0)
        {
            int error = Marshal.GetLastPInvokeError();
            if (error != EINTR) throw new RingException("an eventfd cannot be read", error);
        }
    }

    /// <summary>Closes the eventfd. A read that is armed stays so until its ring ends.</summary>
    public void Dispose() => _file.Dispose();

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    private static partial nint Write(SafeFileHandle file, void* data, nuint length);

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    private static partial nint Read(SafeFileHandle file, void* data, nuint length);
}
