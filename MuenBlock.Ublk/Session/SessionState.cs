namespace MuenBlock.Ublk.Session;

/// <summary>How far a client has come with its server.</summary>
internal enum SessionState
{
    /// <summary>No server is there, or none that speaks the protocol, or one with other disks.</summary>
    Waiting,

    /// <summary>The handshake is under way.</summary>
    Greeting,

    /// <summary>I/O goes through.</summary>
    Ready,

    /// <summary>The server's devices are not the ones that this session began with, or the memory shared with it is lost: I/O fails, nothing is written.</summary>
    Refused,
}
