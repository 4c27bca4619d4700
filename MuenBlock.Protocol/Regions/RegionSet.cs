namespace MuenBlock.Protocol.Regions;

/// <summary>
/// The regions of a connection, as far as they may be lost (<see cref="Region.IsLost"/>). The connection's thread looks at
/// <see cref="Lost"/> in every turn; another one calls <see cref="LookForLoss"/> every <see cref="LookInterval"/>.
/// </summary>
/// <param name="request">The request channel.</param>
/// <param name="response">The response channel.</param>
/// <param name="buffer">The buffer.</param>
public sealed class RegionSet(Region request, Region response, Region buffer)
{
    /// <summary>How often regions are looked at, and how soon after they are whole again they are used again.</summary>
    public static readonly TimeSpan LookInterval = TimeSpan.FromSeconds(1);

    /// <summary>The rule that a truncated region breaks.</summary>
    public const string Rule = "RegionsKeepTheirSize";

    /// <summary>One that is lost; null if none is. Three plain loads.</summary>
    public Region? Lost => request.IsLost ? request : response.IsLost ? response : buffer.IsLost ? buffer : null;

    /// <summary>Looks at the files.</summary>
    /// <returns>Whether a region is lost.</returns>
    public bool LookForLoss() => request.LookForLoss() | response.LookForLoss() | buffer.LookForLoss();

    /// <summary>Maps what was lost again, if all of it is whole again. The connection's thread alone may do so.</summary>
    /// <returns>Whether nothing is lost any more.</returns>
    public bool TryRestore() => request.TryRestore() && response.TryRestore() && buffer.TryRestore();
}
