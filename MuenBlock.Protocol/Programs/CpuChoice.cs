using System.Globalization;
using System.Runtime.InteropServices;

namespace MuenBlock.Protocol.Programs;

/// <summary>On which CPUs the threads of connections run: on any, on those of their hardware queues, or on those of a list.</summary>
public sealed partial class CpuChoice
{
    private const int MostCpus = 8192; // NR_CPUS of the largest kernel configuration (MAXSMP)
    private const int WordBits = 64;
    private const int BitsInByte = 8;

    private readonly int[] _list;

    private CpuChoice(bool followsQueues, int[] list)
    {
        FollowsQueues = followsQueues;
        _list = list;
    }

    /// <summary>On any.</summary>
    public static CpuChoice Any { get; } = new(followsQueues: false, []);

    /// <summary>Whether the threads may run on any.</summary>
    public bool IsAny => !FollowsQueues && _list.Length == 0;

    /// <summary>Whether a connection's thread runs where the requests of its hardware queue arise.</summary>
    public bool FollowsQueues { get; }

    /// <summary>Reads a choice: <c>none</c>, <c>auto</c>, or a list such as <c>0,2-3</c>.</summary>
    /// <param name="text">The text.</param>
    /// <param name="hasQueues">Whether the program has hardware queues to follow.</param>
    /// <param name="allowed">The CPUs that this process may run on; null to ask the kernel.</param>
    /// <returns>The choice.</returns>
    /// <exception cref="ProgramException">It is none of these, or names a CPU that this process may not run on.</exception>
    public static CpuChoice Parse(string text, bool hasQueues, IReadOnlySet<int>? allowed = null)
    {
        CpuChoice choice = ParseAny(text, hasQueues);
        if (choice._list.Length == 0) return choice;
        allowed ??= Allowed();
        foreach (int cpu in choice._list.Where(cpu => !allowed.Contains(cpu)))
            throw Refuse(text, $"CPU {cpu} is not there, is offline, or is not for this process; {Describe(allowed)} can be named");
        return choice;
    }

    /// <summary>Reads the choice of another process. Of a list, what this one may use as well is its own; if that is nothing, it runs on any.</summary>
    /// <param name="text">The text, as <see cref="Parse"/> takes it where there are hardware queues.</param>
    /// <param name="lost">The CPUs that this process may not run on.</param>
    /// <param name="allowed">The CPUs that this process may run on; null to ask the kernel.</param>
    /// <returns>The choice.</returns>
    /// <exception cref="ProgramException">It is none.</exception>
    public static CpuChoice Inherit(string text, out IReadOnlyList<int> lost, IReadOnlySet<int>? allowed = null)
    {
        CpuChoice choice = ParseAny(text, hasQueues: true);
        allowed ??= Allowed();
        lost = [.. choice._list.Where(cpu => !allowed.Contains(cpu))];
        return new CpuChoice(choice.FollowsQueues, [.. choice._list.Except(lost)]);
    }

    /// <summary>
    /// The CPUs of a connection's thread, as far as they were listed. The list is dealt out in order: as many to each connection as there are, the
    /// same one to several if there are fewer CPUs than connections.
    /// </summary>
    /// <param name="connection">The connection's place among the process's.</param>
    /// <param name="connections">How many connections the process has.</param>
    /// <returns>The CPUs; none where no list was given.</returns>
    public IReadOnlyList<int> Of(int connection, int connections)
    {
        if (_list.Length == 0) return [];
        if (_list.Length < connections) return [_list[connection % _list.Length]];
        int first = connection * _list.Length / connections;
        int next = (connection + 1) * _list.Length / connections;
        return _list[first..next];
    }

    /// <summary>The choice of one of several connections, where each is served as if it were the only one of its process.</summary>
    /// <param name="connection">The connection's place among them.</param>
    /// <param name="connections">How many there are.</param>
    /// <returns>Of a list, the connection's CPUs; else the same choice.</returns>
    public CpuChoice Share(int connection, int connections) => new(FollowsQueues, [.. Of(connection, connections)]);

    /// <summary>The choice as <see cref="Parse"/> reads it.</summary>
    /// <returns>The text.</returns>
    public override string ToString() => IsAny ? "none" : FollowsQueues ? "auto" : string.Join(',', _list);

    /// <summary>Lets the calling thread run on some CPUs only (sched_setaffinity(2)).</summary>
    /// <param name="cpus">The CPUs.</param>
    /// <returns>False if none of them can be had.</returns>
    public static unsafe bool PinThisThread(IReadOnlyList<int> cpus)
    {
        ArgumentNullException.ThrowIfNull(cpus);
        ulong* mask = stackalloc ulong[MostCpus / WordBits];
        new Span<ulong>(mask, MostCpus / WordBits).Clear();
        foreach (int cpu in cpus.Where(cpu => cpu < MostCpus)) mask[cpu / WordBits] |= 1ul << (cpu % WordBits);
        return SetAffinity(0, MostCpus / BitsInByte, mask) == 0;
    }

    /// <summary>CPUs as a list in which neighbours are a range, such as 0,2-3.</summary>
    /// <param name="cpus">The CPUs.</param>
    /// <returns>The text.</returns>
    public static string Describe(IEnumerable<int> cpus)
    {
        int[] sorted = [.. cpus.Order()];
        var parts = new List<string>();
        for (int i = 0; i < sorted.Length;)
        {
            int end = i;
            while (end + 1 < sorted.Length && sorted[end + 1] == sorted[end] + 1) end++;
            parts.Add(end == i ? $"{sorted[i]}" : $"{sorted[i]}-{sorted[end]}");
            i = end + 1;
        }

        return string.Join(',', parts);
    }

    private static CpuChoice ParseAny(string text, bool hasQueues)
    {
        ArgumentNullException.ThrowIfNull(text);
        if (text == "none") return Any;
        if (text == "auto")
            return hasQueues ? new CpuChoice(followsQueues: true, []) : throw Refuse(text, "a backend has no hardware queues to follow: list CPUs");
        int[] list = [.. text.Split(',').SelectMany(part => ParseRange(text, part, hasQueues))];
        foreach (IGrouping<int, int> same in list.GroupBy(cpu => cpu).Where(group => group.Count() > 1)) throw Refuse(text, $"CPU {same.Key} is named twice");
        return new CpuChoice(followsQueues: false, list);
    }

    private static IEnumerable<int> ParseRange(string text, string part, bool hasQueues)
    {
        string[] ends = part.Split('-');
        if (ends.Length > 2 || !IsCpu(ends[0], out int first) || !IsCpu(ends[^1], out int last) || first > last)
            throw Refuse(text, $"'{part}' is neither a CPU nor a range of them; a list is like 0,2-3, and else there is {(hasQueues ? "none and auto" : "none")}");
        return Enumerable.Range(first, last - first + 1);
    }

    private static bool IsCpu(string text, out int cpu) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out cpu) && cpu < MostCpus;

    private static unsafe HashSet<int> Allowed()
    {
        ulong* mask = stackalloc ulong[MostCpus / WordBits];
        new Span<ulong>(mask, MostCpus / WordBits).Clear();
        _ = GetAffinity(0, MostCpus / BitsInByte, mask);
        var cpus = new HashSet<int>();
        for (int cpu = 0; cpu < MostCpus; cpu++)
        {
            if ((mask[cpu / WordBits] & (1ul << (cpu % WordBits))) != 0) cpus.Add(cpu);
        }

        return cpus;
    }

    private static ProgramException Refuse(string text, string why) => new(ExitCode.Usage, $"--cpus '{text}': {why}");

    [LibraryImport("libc", EntryPoint = "sched_setaffinity")]
    private static unsafe partial int SetAffinity(int thread, nuint size, ulong* mask);

    [LibraryImport("libc", EntryPoint = "sched_getaffinity")]
    private static unsafe partial int GetAffinity(int thread, nuint size, ulong* mask);
}
