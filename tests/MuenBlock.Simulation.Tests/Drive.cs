using MuenBlock.Backend.Serving;
using MuenBlock.Protocol.Messages;

namespace MuenBlock.Simulation.Tests;

/// <summary>A device of the connection.</summary>
internal sealed record Drive(uint BlockLength, int Sectors, DeviceTraits Traits)
{
    public const int Sector = 512;

    private const DeviceTraits Usual = DeviceTraits.Known | DeviceTraits.Discard;

    public static Drive[] All { get; } = [new(512, 32, Usual), new(4096, 48, Usual), new(512, 12, Usual | DeviceTraits.ReadOnly)];

    public ulong Size => (ulong)Sectors * Sector;

    public bool IsReadOnly => (Traits & DeviceTraits.ReadOnly) != 0;

    public int SectorsOfBlock => (int)BlockLength / Sector;

    /// <summary>What a disk of this kind has at first: it grows to <see cref="Sectors"/>.</summary>
    public int SectorsAtFirst => Sectors / 2 / SectorsOfBlock * SectorsOfBlock;

    public ServedDevice Served(int sectors, ulong identity, DeviceTraits more) => new((ulong)sectors * Sector, BlockLength, Traits | more) { Identity = identity };
}
