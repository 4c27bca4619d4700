using MuenBlock.Protocol.Messages;
using MuenBlock.Protocol.Programs;
using MuenBlock.Ublk.Session;

namespace MuenBlock.Ublk.Queues;

/// <content>What the session tells its thread: for whoever waits for the server, and for the log.</content>
internal sealed partial class ConnectionThread
{
    private sealed partial class Loop : ISessionEvents
    {
        void ISessionEvents.Ready(PeerFeatures serverFeatures, ulong replayed)
        {
            _signal.Agree(serverFeatures);
            DeviceGeometry[] devices = _session.Devices.ToArray();
            for (int i = 0; i < _owner._devices.Length; i++) devices[i] = devices[i] with { Blocks = _owner._devices[i].Blocks };
            _owner._devices = devices;
            if (!_owner._greeted.IsSet) _owner.ServerFeatures = serverFeatures;
            _owner._greeted.Set();
            _unanswered = false;
            if (_budget.Allows()) LogReady(_log, _id, serverFeatures, replayed);
        }

        void ISessionEvents.Refused(string rule)
        {
            if (!_owner._greeted.IsSet) _owner._failure = new ProgramException(ExitCode.Peer, $"connection {_id}: the backend broke a rule: {rule}");
            _owner._greeted.Set();
            if (_budget.Allows()) LogRefused(_log, _id, rule);
        }

        void ISessionEvents.Disagrees(string rule)
        {
            if (_budget.Allows()) LogDisagrees(_log, _id, rule);
        }

        void ISessionEvents.OtherDisk(string rule)
        {
            if (_budget.Allows()) LogOtherDisk(_log, _id, rule);
        }

        void ISessionEvents.SizeTold(int device, ulong blocks, string? rule)
        {
            // Another thread may be reading the devices: it goes on with those of before. Nothing is made anew for what is known.
            DeviceGeometry[] before = _owner._devices;
            if (before[device].Blocks == blocks) return;
            _owner._devices = [.. before.Select((geometry, i) => i == device ? geometry with { Blocks = blocks } : geometry)];
            if (rule is not null && _budget.Allows()) LogSizeRefused(_log, _id, rule);

            // A server that comes back again and again, larger each time, must not keep the main thread busy: it looks by itself as well.
            if (_session.Now < _nextNews) return;
            _nextNews = _session.Now + LookMilliseconds;
            _owner._news();
        }

        void ISessionEvents.SizesAsked(bool complete)
        {
            // The failure first: who sees the count sees it.
            if (!complete) Interlocked.Increment(ref _owner._sizeFailures);
            Interlocked.Increment(ref _owner._sizeAnswers);
            _owner._news();
        }

        void ISessionEvents.NoAnswer(RequestKind question, ushort device)
        {
            _owner._state = $"it did not answer {question}";
            if (_unanswered) return;
            _unanswered = true;
            if (_budget.Allows()) LogNoAnswer(_log, _id, question, device);
        }

        void ISessionEvents.Lost(int failed, long milliseconds)
        {
            const double millisecondsInSecond = 1000;
            if (_budget.Allows()) LogLost(_log, _id, milliseconds / millisecondsInSecond, failed, DescribePeer());
        }

        void ISessionEvents.Stalled(in InFlight io, long milliseconds) =>
            _stalls.Begun(io.Kind, io.Device, io.Offset, io.Length, io.Tag, milliseconds, DescribeAwaited(io));

        private static string DescribeAwaited(in InFlight io) =>
            io.Held ? "it is held until another has ended with which the backend would merge it wrongly"
            : io.Sent ? "the backend has not answered"
            : "no backend takes I/O yet";

        void ISessionEvents.StallEnded(in InFlight io, long milliseconds, int result) =>
            _stalls.Ended(io.Kind, io.Device, io.Tag, milliseconds, result < 0 ? -result : 0);

        void ISessionEvents.Stray(in Response response)
        {
            if (_strayBudget.Allows()) LogStray(_log, _id, response.Kind, response.Device, response.Tag);
        }
    }
}
