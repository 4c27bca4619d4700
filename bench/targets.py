"""What the measurements have to show, and whether they do: for bench/report.py and bench/backend-report.py."""
import statistics

# Our modes: the first is the one that has to reach the target.
USUAL = ("muenblock", "muenblock-batch", "muenblock-asleep")
SPINNING = ("muenblock", "muenblock-batch")
TWO_QUEUES = ("muenblock-2q", "muenblock-2q-pinned")
TWINS = ("twin", "twin-batch", "twin-spin")

# What it says, the job, what of its runs is compared, which of us, with whom, at least or at most, the aim; lower: whether less is better.
SIDE_BY_SIDE = [
    ("4k random read, 64 deep, to the C twin", "read-4k-64", "iops", USUAL, TWINS, 0.95, 1.1, False),
    ("4k random write, 64 deep, to the C twin", "write-4k-64", "iops", USUAL, TWINS, 0.95, 1.1, False),
    ("4k random read, one at a time, to the C twin", "read-4k-1", "iops", USUAL, TWINS, 0.95, 1.1, False),
    ("128k sequential read, to the C twin", "read-128k-16", "mib_s", USUAL, TWINS, 0.95, 1.1, False),
    ("128k sequential write, to the C twin", "write-128k-16", "mib_s", USUAL, TWINS, 0.95, 1.1, False),
    ("4k random read, 64 deep, to kublk loop", "read-4k-64", "iops", USUAL, ("kublk",), 0.75, 0.95, False),
    ("4k random write, 64 deep, to kublk loop", "write-4k-64", "iops", USUAL, ("kublk",), 0.75, 0.95, False),
    ("4k random read, 64 deep, to VDUSE", "read-4k-64", "iops", USUAL, ("vduse",), 1.7, 2.5, False),
    ("4k random write, 64 deep, to VDUSE", "write-4k-64", "iops", USUAL, ("vduse",), 1.7, 2.5, False),
    ("4k random read, 64 deep, to nbd", "read-4k-64", "iops", USUAL, ("nbd",), 3, 4, False),
    ("4k random write, 64 deep, to nbd", "write-4k-64", "iops", USUAL, ("nbd",), 3, 4, False),
    ("128k sequential read, to kublk loop", "read-128k-16", "mib_s", USUAL, ("kublk",), 0.85, 1.05, False),
    ("128k sequential write, to kublk loop", "write-128k-16", "mib_s", USUAL, ("kublk",), 0.85, 1.05, False),
    ("latency one at a time, the client may spin, to kublk loop", "read-4k-1", "mean_us", SPINNING, ("kublk",), 1.8, 1.1, True),
    ("p99.9 at 32 deep, to kublk loop", "read-4k-32", "p999_us", USUAL, ("kublk",), 2, 1.2, True),
    ("two queues and two jobs, 128k sequential read, to kublk loop with two queues", "read-128k-16-2jobs", "mib_s", TWO_QUEUES, ("kublk-2q",), 1.0, 1.3, False),
    ("two queues and two jobs, 128k sequential write, to kublk loop with two queues", "write-128k-16-2jobs", "mib_s", TWO_QUEUES, ("kublk-2q",), 1.0, 1.3, False),
]

# What it says, whose line, which mode's, what of it, at most, the aim; None where there is no such bound.
COUNTERS = [
    ("io_uring_enter per I/O at 64 deep: backend", "muenblock-backend", "classic", "enters", 0.13, 0.08),
    ("the same, client without BATCH_IO", "muenblock-ublk", "classic", "enters", 0.25, 0.12),
    ("idle, device open: CPU of the backend in percent", "muenblock-backend", "classic", "idle_percent", 0.5, None),
    ("the same, client", "muenblock-ublk", "classic", "idle_percent", 0.5, None),
    ("idle, device open: wake-ups of the backend per second", "muenblock-backend", "classic", "idle_wakeups_s", None, 0),
    ("the same, client", "muenblock-ublk", "classic", "idle_wakeups_s", None, 0),
]

HEADER = ["| target | measured | at least | aim | |", "|---|---:|---:|---:|---|"]


def ratio(mine, other):
    """The median of the ratios within rounds: what changed between rounds was the machine. None if no round has both."""
    rounds = sorted(set(mine) & set(other))
    return statistics.median(mine[r] / other[r] for r in rounds) if rounds else None


def best(names, figures, lower):
    """Of those that were measured, the one with the best median."""
    there = [name for name in names if figures.get(name)]
    choose = min if lower else max
    return choose(there, key=lambda name: statistics.median(figures[name].values())) if there else None


def line(text, measured, least, aim, lower, detail=""):
    """A line of the table of targets."""
    def reaches(bound):
        return bound is not None and (measured <= bound if lower else measured >= bound)

    def cell(bound, at_most=""):
        return "" if bound is None else f"{at_most}{bound:g}"

    verdict = "aim met" if reaches(aim) else "met" if reaches(least) else "**missed**"
    return f"| {text} | {measured:.2f}{detail} | {cell(least, 'at most ' if lower else '')} | {cell(aim)} | {verdict} |"


def counter(counters, program, mode, field):
    """The median of what a program counted in a mode; None if it did not."""
    values = [entry[field] for entry in counters if entry["program"] == program and entry["name"] == mode and field in entry]
    return statistics.median(values) if values else None


def side_by_side(runs, counters):
    """The table of targets that a side-by-side measurement decides; "" if it decides none."""
    rounds = [run for run in runs if run["round"] > 0]
    lines = []
    for text, job, field, modes, others, least, aim, lower in SIDE_BY_SIDE:
        figures = {}
        for run in rounds:
            if run["job"] == job:
                figures.setdefault(run["peer"], {})[run["round"]] = run[field]
        other = best(others, figures, lower)
        usual = modes[0]
        mine = ratio(figures.get(usual, {}), figures.get(other, {}))
        if mine is None:
            continue
        ours = best(modes, figures, lower)
        detail = "" if ours == usual else f" ({ratio(figures[ours], figures[other]):.2f} by {ours})"
        lines.append(line(text, mine, least, aim, lower, detail))
    for text, program, mode, field, most, aim in COUNTERS:
        value = counter(counters, program, mode, field)
        if value is not None:
            lines.append(line(text, value, most, aim, True))
    return "\n".join(HEADER + lines) + "\n" if lines else ""


def backend(runs):
    """The table of targets that bench/backend decides."""
    lines = []
    for place in ("tmpfs", "disk"):
        for depth in (32, 128):
            def of(way, field):
                return {run["round"]: run[field] for run in runs if (run["place"], run["depth"], run["way"]) == (place, depth, way) and run.get(field)}

            for text, value, least, aim, lower in (
                (f"{place}, {depth} deep, through the channel to direct: IOPS", ratio(of("channel", "iops"), of("direct", "iops")), 0.95, 1.05, False),
                (f"{place}, {depth} deep, to fio: IOPS", ratio(of("channel", "iops"), of("fio", "iops")), 0.95, 1.0, False),
                (f"{place}, {depth} deep, CPU time per I/O of the backend to fio's", ratio(of("channel", "backend_cpu_us"), of("fio", "cpu_us")), 1.2, 0.9, True),
            ):
                # fio is the yardstick on the disk file only.
                if value is not None and (place == "disk" or "fio" not in text):
                    lines.append(line(text, value, least, aim, lower))

        def latency(way):
            return {run["round"]: run["mean_us"] for run in runs if (run["place"], run["depth"], run["way"]) == (place, 1, way)}

        spinning = ratio(latency("spin"), latency("direct"))
        if spinning is not None:
            lines.append(line(f"{place}, one at a time, both ends look before they sleep: latency to direct", spinning, 1.2, 1.0, True))
    return "\n".join(HEADER + lines) + "\n" if lines else ""
