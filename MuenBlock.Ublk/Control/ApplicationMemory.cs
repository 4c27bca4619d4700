namespace MuenBlock.Ublk.Control;

/// <summary>
/// The part of a connection's buffer that is left to applications: whoever maps it and uses it for O_DIRECT I/O on the connection's devices
/// spares that I/O the copy (UBLK_F_SHMEM_ZC).
/// </summary>
/// <param name="File">The buffer's file.</param>
/// <param name="Offset">Where the part begins in it, in bytes: whole pages.</param>
/// <param name="Length">Bytes.</param>
internal sealed record ApplicationMemory(string File, ulong Offset, ulong Length);
