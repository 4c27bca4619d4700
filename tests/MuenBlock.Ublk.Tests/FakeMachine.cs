using MuenBlock.Ublk.Control;

namespace MuenBlock.Ublk.Tests;

/// <summary>Stands in for the machine that devices are removed from: time passes while one waits, and brings what a test prescribes.</summary>
internal sealed class FakeMachine(FakeDriver driver) : IRemovalMachine
{
    private readonly List<(long Time, Action Happens)> _events = [];

    public long Milliseconds { get; private set; }

    public bool SeesAllProcesses { get; set; } = true;

    public HashSet<int> Servers { get; } = [];

    public HashSet<int> Alive { get; } = [];

    /// <summary>I/Os that do not end while their device has a server.</summary>
    public Dictionary<int, long> Stuck { get; } = [];

    public List<int> Killed { get; } = [];

    /// <summary>Whether a server that is killed ends.</summary>
    public bool Mortal { get; set; } = true;

    public string[] UserPhrases { get; set; } = [];

    public Dictionary<int, DeviceRecord> Records { get; } = [];

    public List<int> DeletedLogs { get; } = [];

    public void At(long time, Action happens) => _events.Add((time, happens));

    public void Sleep(int milliseconds)
    {
        Milliseconds += milliseconds;
        foreach ((long time, Action happens) in _events.Where(e => e.Time <= Milliseconds)) happens();
        _events.RemoveAll(e => e.Time <= Milliseconds);
    }

    public IReadOnlyList<int> Ids() => [.. driver.Devices.Keys.Order()];

    public IReadOnlyList<string> Users(int id) => driver.Open.Contains(id) ? UserPhrases : [];

    public long InFlight(int id) => Stuck.GetValueOrDefault(id);

    public bool IsEnding(int pid) => !Alive.Contains(pid);

    public bool TryKillServer(int id, int pid)
    {
        if (!Servers.Contains(id)) return false;
        Killed.Add(pid);
        if (!Mortal) return true;
        Alive.Remove(pid);
        Servers.Clear();
        foreach (int other in driver.Devices.Keys.ToArray())
        {
            if (driver.Devices[other].State != DeviceState.Dead) driver.Put(other, DeviceState.Quiesced, pid);
        }

        return true;
    }

    /// <summary>Told of a server that is asked for its disk's size.</summary>
    public Action<int> Asked { get; set; } = _ => { };

    public bool TryAskServer(int id, int pid)
    {
        if (!Servers.Contains(id)) return false;
        Asked(id);
        return true;
    }

    public bool HasServer(int id) => Servers.Contains(id);

    /// <summary>Processes with files of their own, such as a container's.</summary>
    public HashSet<int> Elsewhere { get; } = [];

    public bool FindsSame(int pid, string folder) => !Elsewhere.Contains(pid);

    public bool HasNodes(int id) => false;

    public bool IsAlive(int pid) => Alive.Contains(pid);

    public DeviceRecord? TryLoadRecord(int id) => Records.GetValueOrDefault(id);

    public void DeleteRecord(int id) => Records.Remove(id);

    public void DeleteServerLog(DeviceRecord record) => DeletedLogs.Add(record.Pid);
}
