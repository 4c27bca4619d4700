#!/usr/bin/env python3
"""Makes a table of what bench/side-by-side measured, and pictures where it measured several depths.

usage: bench/report.py RESULTS [DOCUMENT]
Reads runs.jsonl, counters.jsonl, failed.jsonl and machine.json in the folder RESULTS; writes table.md and the pictures there. In DOCUMENT the text between
the lines <!-- side-by-side --> and <!-- /side-by-side --> is replaced by the table, and the pictures are put beside it.
"""
import json
import pathlib
import shutil
import statistics
import sys

import documents
import targets

TITLES = {
    "read-4k-64": "4k random read, 64 deep, IOPS",
    "write-4k-64": "4k random write, 64 deep, IOPS",
    "read-4k-1": "4k random read, one at a time, IOPS",
    "read-4k-32": "4k random read, 32 deep, p99.9, µs",
    "read-128k-16": "128k sequential read, 16 deep, MiB/s",
    "write-128k-16": "128k sequential write, 16 deep, MiB/s",
    "read-128k-16-2jobs": "128k sequential read, two jobs, each 16 deep, MiB/s",
    "write-128k-16-2jobs": "128k sequential write, two jobs, each 16 deep, MiB/s",
    "shared-128k-4": "128k sequential reads by pread of 4 threads, MiB/s",
}
NAMES = {
    "disk": "the disk itself",
    "loop": "kernel loop, direct",
    "kublk": "kublk loop",
    "kublk-batch": "kublk loop, BATCH_IO",
    "vduse": "qemu-storage-daemon, VDUSE",
    "nbd": "nbdkit, nbd",
    "twin": "C twin",
    "twin-batch": "C twin, BATCH_IO",
    "twin-spin": "C twin, spinning",
    "muenblock": "**muenblock**",
    "muenblock-batch": "**muenblock**, BATCH_IO",
    "muenblock-asleep": "**muenblock**, asleep at once (--spin 0)",
    "muenblock-before": "**muenblock**, before the change",
    "muenblock-shared": "**muenblock**, --app-memory, not copied",
    "muenblock-copied": "**muenblock**, copied",
    "kublk-2q": "kublk loop, two queues",
    "muenblock-2q": "**muenblock**, two connections joined",
    "muenblock-2q-pinned": "**muenblock**, two connections joined, --cpus auto",
}
PROGRAMS = {"muenblock-backend": "backend", "muenblock-ublk": "client"}
MODES = {"classic": "", "batch": ", BATCH_IO"}
COUNTERS = {
    "enters": "io_uring_enter per I/O",
    "sleeps": "sleeps per I/O",
    "wakes": "wakes per I/O",
    "idle_percent": "idle: CPU in percent",
    "idle_wakeups_s": "idle: wake-ups per second",
}
COLOURS = ["#888888", "#b07aa1", "#4e79a7", "#76b7b2", "#f28e2b", "#edc948", "#59a14f", "#8cd17d", "#b6992d", "#e15759", "#ff9da7", "#9c3030", "#555555"]


def value(run):
    """What a job is about: bandwidth of large blocks, the tail at depth 32, else I/Os per second."""
    if "-128k-" in run["job"]:
        return run["mib_s"]
    return run["p999_us"] if run["job"].endswith("-4k-32") else run["iops"]


def by_round(runs):
    """{job: {peer: {round: value}}}"""
    table = {}
    for run in runs:
        if run["round"] > 0:
            table.setdefault(run["job"], {}).setdefault(run["peer"], {})[run["round"]] = value(run)
    return table


def table_of(runs, machine):
    lines = []
    for job, peers in by_round(runs).items():
        twin = targets.best(targets.TWINS, peers, lower=job.endswith("-4k-32"))
        kublk = "kublk-2q" if job.endswith("jobs") else "kublk"
        lines += [f"**{TITLES.get(job, job)}**", "", f"| | median | lowest to highest | to {NAMES[kublk]} | to the best twin |", "|---|---:|---:|---:|---:|"]
        for peer in sorted(peers, key=lambda name: list(NAMES).index(name)):
            rounds = peers[peer]
            figures = list(rounds.values())
            cells = [NAMES.get(peer, peer), f"{statistics.median(figures):,.0f}", f"{min(figures):,.0f} to {max(figures):,.0f}"]
            for other in (kublk, twin):
                found = targets.ratio(rounds, peers[other]) if other in peers else None
                cells.append("" if found is None else f"{found:.2f}")
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    lines.append(
        f"{machine['rounds']} rounds of {machine['seconds']} s, peers in turns within a round, ratios: medians of the ratios within rounds. One boot: "
        f"Linux {machine['kernel']}, {machine['cpus']} CPUs ({machine['model']}), {machine['fio']}, {machine['qsd']}, {machine['nbdkit']}, "
        f"muenblock {machine['version']}; all peers on RAM disks of one kind.")
    return "\n".join(lines) + "\n"


def table_of_counters(counters):
    """What the programs count themselves; "" if they were not asked."""
    if not counters:
        return ""
    lines = ["**What the programs do: 4k random reads, 64 deep, and nothing afterwards**", "", f"| | {' | '.join(COUNTERS.values())} |", "|---|" + "---:|" * len(COUNTERS)]
    for mode, suffix in MODES.items():
        for program, name in PROGRAMS.items():
            values = [targets.counter(counters, program, mode, field) for field in COUNTERS]
            lines.append(f"| {name}{suffix} | " + " | ".join("" if value is None else f"{value:.2f}" for value in values) + " |")
    return "\n".join(lines) + "\n\n"


def picture(runs, field, unit, path):
    """Lines over the queue depth, both axes logarithmic."""
    import math

    points = {}
    for run in runs:
        if run["round"] == 0:
            points.setdefault(run["peer"], []).append((int(run["job"].rsplit("-", 1)[1]), run[field]))
    if not points:
        return False
    width, height, left, top, right, bottom = 860, 420, 70, 20, 190, 50
    depths = sorted({depth for line in points.values() for depth, _ in line})
    values = [v for line in points.values() for _, v in line if v > 0]
    low, high = math.log10(min(values)), math.log10(max(values))
    span = (high - low) or 1

    def x(depth):
        return left + (width - left - right) * (math.log2(depth) - math.log2(depths[0])) / (math.log2(depths[-1]) - math.log2(depths[0]) or 1)

    def y(v):
        return top + (height - top - bottom) * (1 - (math.log10(max(v, 10**low)) - low) / span)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="white"/>']
    for depth in depths:
        out.append(f'<line x1="{x(depth):.0f}" y1="{top}" x2="{x(depth):.0f}" y2="{height - bottom}" stroke="#eeeeee"/>'
                   f'<text x="{x(depth):.0f}" y="{height - bottom + 16}" text-anchor="middle">{depth}</text>')
    exponent = math.floor(low)
    while exponent <= high:
        for digit in (1, 2, 5):
            v = digit * 10**exponent
            if low <= math.log10(v) <= high:
                out.append(f'<line x1="{left}" y1="{y(v):.0f}" x2="{width - right}" y2="{y(v):.0f}" stroke="#eeeeee"/>'
                           f'<text x="{left - 6}" y="{y(v) + 4:.0f}" text-anchor="end">{v:,}</text>')
        exponent += 1
    out.append(f'<text x="{(left + width - right) / 2:.0f}" y="{height - 10}" text-anchor="middle">queue depth, 4k random reads</text>')
    out.append(f'<text x="14" y="{(top + height - bottom) / 2:.0f}" text-anchor="middle" transform="rotate(-90 14 {(top + height - bottom) / 2:.0f})">{unit}</text>')
    labels = sorted(points, key=lambda peer: y(points[peer][-1][1]))
    for i, peer in enumerate(labels):
        colour = COLOURS[list(NAMES).index(peer) % len(COLOURS)] if peer in NAMES else "#000000"
        line = " ".join(f"{x(depth):.1f},{y(v):.1f}" for depth, v in sorted(points[peer]))
        thick = 3 if peer.startswith("muenblock") else 1.5
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="{thick}"/>')
        out.append(f'<rect x="{width - right + 14}" y="{top + i * 20}" width="16" height="4" fill="{colour}"/>'
                   f'<text x="{width - right + 36}" y="{top + i * 20 + 7}">{NAMES.get(peer, peer).replace("*", "")}</text>')
    path.write_text("\n".join(out) + "\n</svg>\n")
    return True


def main():
    results = pathlib.Path(sys.argv[1])
    runs = [json.loads(line) for line in (results / "runs.jsonl").read_text().splitlines()]
    machine = json.loads((results / "machine.json").read_text())
    counters = [json.loads(line) for line in (results / "counters.jsonl").read_text().splitlines()] if (results / "counters.jsonl").exists() else []
    verdicts = targets.side_by_side(runs, counters)
    text = (f"Targets, by the default mode unless another is named; in brackets what the best mode gives:\n\n{verdicts}\n" if verdicts else "") + table_of_counters(counters) + table_of(runs, machine)
    if (results / "failed.jsonl").exists():
        failed = [json.loads(line) for line in (results / "failed.jsonl").read_text().splitlines()]
        text += "".join(f"\nNot measured: {NAMES.get(entry['peer'], entry['peer'])} ({entry['why']}).\n" for entry in failed)
    pictures = []
    for field, unit, name in (("iops", "IOPS", "iops-over-depth.svg"), ("mean_us", "mean latency, µs", "latency-over-depth.svg")):
        if picture(runs, field, unit, results / name):
            pictures.append((name, unit))
    text += "".join(f"\n![{unit} over the queue depth]({name})\n" for name, unit in pictures)
    (results / "table.md").write_text(text)
    print(text)
    if len(sys.argv) > 2:
        documents.replace(sys.argv[2], "side-by-side", text)
        for name, _ in pictures:
            shutil.copy(results / name, pathlib.Path(sys.argv[2]).parent / name)


main()
