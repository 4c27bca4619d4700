namespace MuenBlock.Ublk.Session;

/// <summary>
/// What the sessions of joined connections have to know of each other, since an application does not see which queue its I/O takes:
/// <list type="bullet">
/// <item>Doubt. A session that gives I/O up cannot tell whether its server still carries it out. Until the answer to its Reset says that nothing
/// of before touches the disk (invariant I6), no session may let a write or a discard succeed, which a late one could undo (I8).</item>
/// <item>Agreement. All connections lead to the same disks. After a restart of a server a session carries I/O only if its devices are the same
/// disks as those of all other sessions that do; else it waits for them to change as well.</item>
/// </list>
/// Sessions run on threads of their own. Only <see cref="AnyDoubt"/> is looked at for each I/O, a plain load of what hardly ever changes.
/// </summary>
internal sealed class JoinedSessions
{
    private readonly Lock _gate = new();
    private readonly Member[] _members;
    private int _doubts;

    /// <summary>Prepares for the sessions.</summary>
    /// <param name="connections">The ids of their connections.</param>
    public JoinedSessions(IReadOnlyList<uint> connections) => _members = [.. connections.Select(id => new Member(this, id))];

    /// <summary>Whether a session has given up I/O that may still be carried out.</summary>
    public bool AnyDoubt => Volatile.Read(ref _doubts) != 0;

    /// <summary>What one of the sessions says and asks.</summary>
    /// <param name="index">Its connection's place among the joined ones.</param>
    public Member this[int index] => _members[index];

    /// <summary>One of the sessions; used by its thread alone.</summary>
    /// <param name="joined">All of them.</param>
    /// <param name="connection">The id of its connection.</param>
    internal sealed class Member(JoinedSessions joined, uint connection)
    {
        private readonly ulong[] _identities = new ulong[Handshake.MostDevices];
        private int _devices;
        private bool _doubts;

        /// <summary>Whether any of the sessions has given up I/O that may still be carried out.</summary>
        public bool AnyDoubt => joined.AnyDoubt;

        /// <summary>I/O that the server has is given up. To be called before the first of it fails.</summary>
        public void Doubt()
        {
            if (_doubts) return;
            _doubts = true;

            // A full fence before the commands that let I/O fail. Whoever learns of a failure and writes again reaches the other
            // session's thread through the kernel, behind this store.
            _ = Interlocked.Increment(ref joined._doubts);
        }

        /// <summary>The server has answered a Reset: nothing of before is carried out any more.</summary>
        public void Trust()
        {
            if (!_doubts) return;
            _doubts = false;
            _ = Interlocked.Decrement(ref joined._doubts);
        }

        /// <summary>Carries I/O from now on, unless that would be to another disk than another session's.</summary>
        /// <param name="handshake">What the server has said.</param>
        /// <param name="devices">What was promised of as many devices: of one without blocks nothing, so that it may be any disk.</param>
        /// <returns>The rule that would be broken, in words; null if I/O may begin.</returns>
        public string? TryBegin(Handshake handshake, ReadOnlySpan<DeviceGeometry> devices)
        {
            lock (joined._gate)
            {
                for (int device = 0; device < handshake.DeviceCount; device++)
                {
                    ulong identity = devices[device].Blocks == 0 ? 0 : handshake.Geometry(device).Identity;
                    foreach (Member other in joined._members)
                    {
                        if (other != this && other.Contradicts(device, identity)) return $"JoinedConnectionsLeadToTheSameDisks: device {device} is not the same disk as on connection {other.Id}";
                    }

                    _identities[device] = identity;
                }

                _devices = handshake.DeviceCount;
                return null;
            }
        }

        /// <summary>Carries no I/O any more.</summary>
        public void End()
        {
            lock (joined._gate) _devices = 0;
        }

        private uint Id => connection;

        // What is not known contradicts nothing: a server of the original does not tell.
        private bool Contradicts(int device, ulong identity) =>
            device < _devices && identity != 0 && _identities[device] != 0 && _identities[device] != identity;
    }
}
