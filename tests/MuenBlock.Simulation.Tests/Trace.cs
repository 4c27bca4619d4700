using System.Globalization;
using System.Runtime.CompilerServices;

namespace MuenBlock.Simulation.Tests;

/// <summary>What happened, a line each; for a seed that failed, when it runs again.</summary>
internal sealed class Trace(bool enabled)
{
    private readonly List<string> _lines = [];

    public bool Enabled => enabled;

    public long Step { get; set; }

    public IReadOnlyList<string> Lines => _lines;

    public void Log([InterpolatedStringHandlerArgument("")] ref Line line)
    {
        if (enabled) _lines.Add(string.Create(CultureInfo.InvariantCulture, $"{Step,6}  {line.Text}"));
    }

    /// <summary>A line that is not even composed if nobody reads it, so that a run without a trace allocates nothing for it.</summary>
    [InterpolatedStringHandler]
    internal ref struct Line
    {
        private DefaultInterpolatedStringHandler _text;

        public Line(int literals, int holes, Trace trace, out bool wanted)
        {
            wanted = trace.Enabled;
            _text = wanted ? new DefaultInterpolatedStringHandler(literals, holes, CultureInfo.InvariantCulture) : default;
        }

        public string Text => _text.ToStringAndClear();

        public void AppendLiteral(string value) => _text.AppendLiteral(value);

        public void AppendFormatted<T>(T value, string? format = null) => _text.AppendFormatted(value, format);
    }
}
