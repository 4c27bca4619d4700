namespace MuenBlock.Simulation.Tests;

/// <summary>What the worlds went through, to see that none of it is never tried.</summary>
internal sealed class Tally
{
    public long Acknowledged { get; set; }

    public long Failed { get; set; }

    public long Shorts { get; set; }

    public long ClientDeaths { get; set; }

    public long ServerDeaths { get; set; }

    public long DeathsOfBoth { get; set; }

    public long DeathsInRecovery { get; set; }

    public long PowerCuts { get; set; }

    public long MemoryLosses { get; set; }

    public ulong Replayed { get; set; }

    public long Strikes { get; set; }

    public long ServedAfterHostility { get; set; }

    public long Growths { get; set; }

    public long WrongDisks { get; set; }

    public long WrongDisksRefused { get; set; }

    public long ReadOnlyServers { get; set; }

    public long ReadOnlyRefused { get; set; }

    /// <summary>What happened, and how often.</summary>
    public IEnumerable<(string What, ulong Count)> Counts =>
        typeof(Tally).GetProperties().Where(property => property.Name != nameof(Counts)).Select(property => (property.Name, Convert.ToUInt64(property.GetValue(this))));

    public void Add(Tally other)
    {
        Acknowledged += other.Acknowledged;
        Failed += other.Failed;
        Shorts += other.Shorts;
        ClientDeaths += other.ClientDeaths;
        ServerDeaths += other.ServerDeaths;
        DeathsOfBoth += other.DeathsOfBoth;
        DeathsInRecovery += other.DeathsInRecovery;
        PowerCuts += other.PowerCuts;
        MemoryLosses += other.MemoryLosses;
        Replayed += other.Replayed;
        Strikes += other.Strikes;
        ServedAfterHostility += other.ServedAfterHostility;
        Growths += other.Growths;
        WrongDisks += other.WrongDisks;
        WrongDisksRefused += other.WrongDisksRefused;
        ReadOnlyServers += other.ReadOnlyServers;
        ReadOnlyRefused += other.ReadOnlyRefused;
    }
}
