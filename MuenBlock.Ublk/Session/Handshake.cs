using MuenBlock.Protocol.Messages;

namespace MuenBlock.Ublk.Session;

/// <summary>
/// The questions that a session begins with, one after the other (docs/wire-format.md, "Life of a connection"): Reset, then what the server can do, how many
/// devices it has, and what each is like. A plain muenblock 2.0 server does not answer the second; it is not waited for longer than a deadline.
/// </summary>
internal sealed class Handshake
{
    /// <summary>More devices on a connection than this are a broken server.</summary>
    public const int MostDevices = 256;

    private static readonly RequestKind[] s_deviceQuestions =
        [RequestKind.MediaBlocks, RequestKind.BlockLength, RequestKind.MaxBlocksCount, RequestKind.Traits, RequestKind.Identity];

    private readonly ulong[] _answers = new ulong[MostDevices * s_deviceQuestions.Length];
    private int _step;

    /// <summary>What the server can do beyond muenblock 2.0.</summary>
    public PeerFeatures ServerFeatures { get; private set; }

    /// <summary>How often the sizes had changed before any was asked for, as the server counts it; 0 of one that does not tell.</summary>
    public ulong Changes { get; private set; }

    /// <summary>The number of devices, once it was answered.</summary>
    public int DeviceCount { get; private set; }

    /// <summary>Which rule an answer broke, in words; null if none.</summary>
    public string? BrokenRule { get; private set; }

    /// <summary>Whether every question was answered.</summary>
    public bool Done { get; private set; }

    /// <summary>What is asked now.</summary>
    public RequestKind Question { get; private set; } = RequestKind.Reset;

    /// <summary>Of which device.</summary>
    public ushort Device { get; private set; }

    /// <summary>Begins anew.</summary>
    public void Begin()
    {
        _step = 0;
        ServerFeatures = PeerFeatures.None;
        Changes = 0;
        DeviceCount = 0;
        BrokenRule = null;
        Done = false;
        Question = RequestKind.Reset;
        Device = 0;
    }

    /// <summary>Takes the answer to the present question and goes on to the next.</summary>
    /// <param name="value">The status as received.</param>
    public void Answer(ulong value)
    {
        switch (Question)
        {
            case RequestKind.Reset when value != 0:
                BrokenRule = $"ResetSucceeds: status {value}";
                break;
            case RequestKind.Features:
                ServerFeatures = (PeerFeatures)value;
                break;
            case RequestKind.Watch:
                Changes = value;
                break;
            case RequestKind.MaxDevices when value is 0 or > MostDevices:
                BrokenRule = $"DevicesAreFrom1To{MostDevices}: {value}";
                break;
            case RequestKind.MaxDevices:
                DeviceCount = (int)value;
                break;
            case RequestKind.BlockLength when value > DeviceGeometry.LargestBlock:
                _answers[_step] = uint.MaxValue;
                break;
            default:
                if (Question != RequestKind.Reset) _answers[_step] = value;
                break;
        }

        Advance();
    }

    /// <summary>What was learnt of a device.</summary>
    /// <param name="device">Its id, below <see cref="DeviceCount"/>.</param>
    public DeviceGeometry Geometry(int device)
    {
        ReadOnlySpan<ulong> answers = _answers.AsSpan(device * s_deviceQuestions.Length, s_deviceQuestions.Length);
        return new DeviceGeometry(answers[0], (uint)answers[1], answers[2], (DeviceTraits)answers[3]) { Identity = answers[4] };
    }

    /// <summary>
    /// The number by which a later server's device is compared with this one, see <see cref="DiskIdentity"/>; 0 if that cannot be told. Servers of ours that
    /// do not know Watch told disks apart, but had other numbers for them after a start.
    /// </summary>
    /// <param name="device">The device's id.</param>
    public ulong DiskOf(int device) => (ServerFeatures & PeerFeatures.Watch) != 0 ? Geometry(device).Identity : 0;

    private void Advance()
    {
        switch (Question)
        {
            case RequestKind.Reset:
                Question = RequestKind.Features;
                return;
            case RequestKind.Features when (ServerFeatures & PeerFeatures.Watch) != 0:
                Question = RequestKind.Watch;
                return;
            case RequestKind.Features or RequestKind.Watch:
                Question = RequestKind.MaxDevices;
                return;
            case RequestKind.MaxDevices:
                _step = 0;
                break;
            default:
                _step++;
                break;
        }

        // What a server does not know is not asked: the answer is none. The first question of a device always is.
        while (!IsAsked(s_deviceQuestions[_step % s_deviceQuestions.Length])) _answers[_step++] = 0;
        Done = _step >= DeviceCount * s_deviceQuestions.Length;
        if (Done) return;
        Device = (ushort)(_step / s_deviceQuestions.Length);
        Question = s_deviceQuestions[_step % s_deviceQuestions.Length];
    }

    private bool IsAsked(RequestKind question) => question switch
    {
        RequestKind.Traits => (ServerFeatures & PeerFeatures.Traits) != 0,
        RequestKind.Identity => (ServerFeatures & PeerFeatures.Identity) != 0,
        _ => true,
    };
}
