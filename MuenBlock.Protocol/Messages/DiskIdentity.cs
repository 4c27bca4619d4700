namespace MuenBlock.Protocol.Messages;

/// <summary>The answer to <see cref="RequestKind.Identity"/>.</summary>
public static class DiskIdentity
{
    // The lowest bit of a number that is for good.
    private const ulong Lasting = 1;

    /// <summary>Makes a number that stays the disk's own whatever is started again.</summary>
    /// <param name="hash">What the number is made of.</param>
    /// <returns>An odd number.</returns>
    public static ulong ForGood(ulong hash) => hash | Lasting;

    /// <summary>Makes a number that says nothing after the machine of the disk was started again.</summary>
    /// <param name="hash">What the number is made of.</param>
    /// <returns>An even number that is not 0.</returns>
    public static ulong UntilReboot(ulong hash) => Math.Max(hash & ~Lasting, Lasting + 1);

    /// <summary>
    /// Whether a server has another disk than its predecessor. Of two numbers that are not for good nothing can be told, as the machine may have been started
    /// again; but a disk that has a name for good does not turn into one that has none.
    /// </summary>
    /// <param name="before">What the predecessor answered, or 0.</param>
    /// <param name="now">What the server answers, or 0.</param>
    /// <returns>Whether they are known, are not the same, and one of them is for good.</returns>
    public static bool Differ(ulong before, ulong now) => before != 0 && now != 0 && before != now && ((before | now) & Lasting) != 0;
}
