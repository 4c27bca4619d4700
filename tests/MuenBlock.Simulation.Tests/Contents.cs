namespace MuenBlock.Simulation.Tests;

/// <summary>
/// What an application may expect of a device: of each sector what the last acknowledged write left there, or, after a write that failed or a
/// power cut, any of several values; and what must have survived a power cut.
/// </summary>
internal sealed class Contents
{
    private readonly int _device;
    private readonly Sector[] _sectors;

    public Contents(int device)
    {
        _device = device;
        _sectors = [.. Enumerable.Range(0, Drive.All[device].Sectors).Select(_ => new Sector())];
    }

    /// <summary>A write or a discard is asked for. From now on it may be on the disk.</summary>
    public void Begin(int sector, int value)
    {
        _sectors[sector].Writing = true;
        _sectors[sector].History.Add(value);
    }

    /// <summary>It ended.</summary>
    public void End(int sector, int value, bool done)
    {
        Sector entry = _sectors[sector];
        entry.Writing = false;
        if (done)
        {
            entry.Known = true;
            entry.Value = value;
            entry.Anything = false;
            entry.Allowed.Clear();
            return;
        }

        if (entry.Known) _ = entry.Allowed.Add(entry.Value);
        _ = entry.Allowed.Add(value);
        entry.Known = false;
    }

    /// <summary>What a flush that is asked for now must make durable: for each sector the place in its history, or -1 where nothing is certain.</summary>
    public long[] Settled() => [.. _sectors.Select(entry => entry is { Writing: false, Known: true } ? entry.Trimmed + entry.History.Count - 1 : -1)];

    /// <summary>A flush was acknowledged.</summary>
    public void Flushed(long[] settled, Disks disks)
    {
        for (int sector = 0; sector < _sectors.Length; sector++)
        {
            Sector entry = _sectors[sector];
            int least = (int)(settled[sector] - entry.Trimmed);
            if (settled[sector] < 0 || least < 0) continue;
            int found = disks.Durable(_device, sector);
            Invariants.I7_a_sync_makes_durable(entry.History.LastIndexOf(found) >= least, _device, sector, found);
            entry.History.RemoveRange(0, least);
            entry.Trimmed += least;
        }
    }

    /// <summary>Power was cut: a sector has what the last flush made durable, or anything that was written since.</summary>
    public void PowerCut()
    {
        foreach (Sector entry in _sectors)
        {
            entry.Known = false;
            entry.Allowed.UnionWith(entry.History);

            // What a hostile end wrote may still be the durable content, until something newer was flushed.
            entry.Anything |= entry.Trimmed < entry.TrustedFrom;
        }
    }

    /// <summary>An end was hostile: the disk may have anything, until it is written.</summary>
    public void Distrust()
    {
        for (int sector = 0; sector < _sectors.Length; sector++)
        {
            bool writing = _sectors[sector].Writing;
            Distrust(sector);
            _sectors[sector].Writing = writing;
        }
    }

    /// <summary>A write ended whose data a hostile end could change.</summary>
    public void Distrust(int sector)
    {
        Sector entry = _sectors[sector];
        entry.Writing = entry.Known = false;
        entry.Anything = true;
        entry.TrustedFrom = entry.Trimmed + entry.History.Count;
    }

    public void Check(int sector, int found)
    {
        Sector entry = _sectors[sector];
        bool allowed = entry.Anything || (entry.Known ? found == entry.Value : entry.Allowed.Contains(found));
        Invariants.I8_nothing_acknowledged_is_lost(allowed, _device, sector, found, allowed ? "" : entry.ToString());
    }

    public void CheckAll(Disks disks)
    {
        for (int sector = 0; sector < _sectors.Length; sector++) Check(sector, disks.Content(_device, sector));
    }

    private sealed class Sector
    {
        /// <summary>All that may be on the medium, the durable first.</summary>
        public List<int> History { get; } = [0];

        /// <summary>How many entries the history has lost at its front.</summary>
        public long Trimmed { get; set; }

        /// <summary>The place in the history before which anything may be on the medium.</summary>
        public long TrustedFrom { get; set; }

        public bool Writing { get; set; }

        public bool Known { get; set; } = true;

        public int Value { get; set; }

        public bool Anything { get; set; }

        /// <summary>What it may have while that is not known.</summary>
        public HashSet<int> Allowed { get; } = [];

        public override string ToString() => Known ? $"{Value}" : $"one of {string.Join(", ", Allowed)}";
    }
}
