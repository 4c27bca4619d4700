#!/usr/bin/env python3
"""Makes a table of what bench/micro --channel measured. usage: bench/channel-report.py RESULTS.jsonl [DOCUMENT]"""
import json
import pathlib
import statistics
import sys

import documents
import targets


def main():
    runs = [json.loads(line) for line in pathlib.Path(sys.argv[1]).read_text().splitlines()]
    lines = ["| requests in flight | C twin, answers/s | muenblock, answers/s | median of the ratios | target |", "|---:|---:|---:|---:|---|"]
    for depth in sorted({run["depth"] for run in runs}):
        def of(program):
            return {run["round"]: run["packets"] for run in runs if run["depth"] == depth and run["program"] == program}

        twin, ours = of("twin"), of("ours")
        ratio = targets.ratio(ours, twin)
        verdict = "aim (1.0) met" if ratio >= 1 else "met (0.95)" if ratio >= 0.95 else "**missed** (0.95)"
        lines.append(f"| {depth} | {statistics.median(twin.values()):,.0f} | {statistics.median(ours.values()):,.0f} | {ratio:.2f} | {verdict} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if len(sys.argv) > 2:
        documents.replace(sys.argv[2], "channel", text)


main()
