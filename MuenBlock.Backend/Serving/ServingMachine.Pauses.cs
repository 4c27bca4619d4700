namespace MuenBlock.Backend.Serving;

/// <content>
/// Repeats what the kernel did not even begin. What cannot be done at once is done by threads of the kernel, and where the limit on threads of the
/// user or of the control group leaves room for none, it is ended with ECANCELED (io_wq_enqueue, io_uring/io-wq.c). Room is there again when
/// other threads have ended, such as those that another connection's flushes have needed, which takes the kernel seconds: hence the pauses. There
/// is no last one: a flush that takes long is a slow disk for the client, and one that fails is the end of its file system.
/// </content>
internal sealed partial class ServingMachine<TDisks, TResponses>
{
    // Idle threads of the kernel end after five seconds, others when they have done what they do: soon enough after that, and next to no work.
    private const long PauseMilliseconds = 100;

    private int _paused;
    private long _pauseEnds;

    private void Pause(ref Slot entry)
    {
        entry.Paused = true;
        if (_paused++ == 0) _pauseEnds = Now + PauseMilliseconds;
    }

    /// <summary>Starts all that is paused again, if it is time to.</summary>
    private void EndPause()
    {
        if (Now < _pauseEnds) return;
        _paused = 0;
        for (int i = 0; i < _slots.Length; i++)
        {
            ref Slot entry = ref _slots[i];
            if (!entry.Paused) continue;
            entry.Paused = false;
            Start((uint)i, ref entry);
        }
    }
}
