#!/usr/bin/env python3
"""Makes a table of what bench/backend measured. usage: bench/backend-report.py RESULTS.jsonl [DOCUMENT]

In DOCUMENT the text between the lines <!-- backend --> and <!-- /backend --> is replaced by the table.
"""
import json
import pathlib
import statistics
import sys

import documents
import targets

WAYS = {
    "direct": "direct",
    "channel": "**through the channel**",
    "spin": "**through the channel**, both ends look before they sleep",
    "fio": "fio",
    "twin": "C twin through its channel",
}


def median(runs, field):
    values = [run[field] for run in runs if run.get(field) is not None]
    return statistics.median(values) if values else None


def cell(number, form="{:,.0f}"):
    return "" if number is None else form.format(number)


def main():
    runs = [json.loads(line) for line in pathlib.Path(sys.argv[1]).read_text().splitlines()]
    # Results that were kept before they began with the build begin with a run.
    version = runs.pop(0)["version"] if "version" in runs[0] else "of an unknown build"
    lines = ["| file on | depth | way | IOPS | to direct | mean µs | client CPU µs per I/O | server CPU µs per I/O | client's system calls per I/O |", "|---|---:|---|---:|---:|---:|---:|---:|---:|"]
    for place in ("tmpfs", "disk"):
        for depth in (1, 32, 128):
            here = [run for run in runs if run["place"] == place and run["depth"] == depth]
            direct = {run["round"]: run["iops"] for run in here if run["way"] == "direct"}
            for way, name in WAYS.items():
                mine = [run for run in here if run["way"] == way]
                if not mine:
                    continue
                ratio = statistics.median(run["iops"] / direct[run["round"]] for run in mine)
                lines.append(
                    f"| {place} | {depth} | {name} | {cell(median(mine, 'iops'))} | {ratio:.2f} | {cell(median(mine, 'mean_us'), '{:.1f}')} "
                    f"| {cell(median(mine, 'cpu_us'), '{:.2f}')} | {cell(median(mine, 'backend_cpu_us'), '{:.2f}')} | {cell(median(mine, 'enters'), '{:.2f}')} |")
    text = targets.backend(runs) + "\n" + f"muenblock {version}.\n\n" + "\n".join(lines) + "\n"
    print(text)
    if len(sys.argv) > 2:
        documents.replace(sys.argv[2], "backend", text)


main()
