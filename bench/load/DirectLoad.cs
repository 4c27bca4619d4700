using System.Diagnostics;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using MuenBlock.IoUring;
using MuenBlock.Protocol.Programs;
using MuenBlock.Protocol.Regions;
using static Tmds.Linux.LibC;

namespace MuenBlock.Load;

/// <summary>The yardstick: the same I/O submitted by one program, with a registered file and registered buffers.</summary>
internal static unsafe class DirectLoad
{
    private const nuint PageSize = 4096;

    /// <summary>Runs the job.</summary>
    /// <param name="path">A block device, or a file on a file system that takes O_DIRECT.</param>
    /// <param name="job">What to do.</param>
    public static void Run(string path, Job job)
    {
        using SafeFileHandle file = PosixFile.TryOpen(path, O_RDWR | O_DIRECT, out int errno)
            ?? throw new ProgramException(ExitCode.NotFound, $"{path}: {PosixFile.Describe(errno)}");
        using var ring = Ring.Create(new RingOptions { Entries = 256, CompletionEntries = 4096 });
        ring.RegisterSelf();
        nuint size = (nuint)job.Depth * (nuint)job.BlockSize;
        byte* buffer = (byte*)NativeMemory.AlignedAlloc(size, PageSize);
        new Span<byte>(buffer, (int)size).Fill(0x5a);
        if (ring.RegisterFiles([PosixFile.Descriptor(file)]) < 0 || ring.RegisterBuffers([new IoVector { Base = buffer, Length = size }]) < 0)
            throw new ProgramException(ExitCode.Environment, "the file or the buffer cannot be registered with io_uring");

        ulong transfers = 0;
        ulong sleeps = 0;
        int inFlight = 0;
        long start = Stopwatch.GetTimestamp();
        long end = start + (long)(job.Duration.TotalSeconds * Stopwatch.Frequency);
        for (int slot = 0; slot < job.Depth; slot++, inFlight++) Submit(ring, job, buffer, slot);
        while (inFlight > 0)
        {
            _ = ring.Enter(1);
            sleeps++;
            bool more = Stopwatch.GetTimestamp() < end;
            while (ring.TryTake(out Completion completion))
            {
                if (completion.Result != job.BlockSize) throw new ProgramException(ExitCode.Environment, $"a transfer ended with {completion.Result}");
                transfers++;
                if (more) Submit(ring, job, buffer, (int)completion.UserData);
                else inFlight--;
            }
        }

        job.Report("direct", transfers, Stopwatch.GetElapsedTime(start), ring.Enters, sleeps);
        ring.Dispose();
        NativeMemory.AlignedFree(buffer);
    }

    private static void Submit(Ring ring, Job job, byte* buffer, int slot)
    {
        ref SubmissionEntry entry = ref ring.NextEntry();
        byte* address = buffer + ((long)slot * job.BlockSize);
        if (job.Write) entry.PrepareWriteFixed(0, address, (uint)job.BlockSize, job.NextOffset(), 0);
        else entry.PrepareReadFixed(0, address, (uint)job.BlockSize, job.NextOffset(), 0);
        entry.Flags = EntryFlags.FixedFile;
        entry.UserData = (ulong)slot;
    }
}
