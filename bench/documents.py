"""Puts what was measured into a document: for the reports beside this file."""
import pathlib
import sys


def replace(document, name, text):
    """Replaces what is between the lines <!-- NAME --> and <!-- /NAME --> of a document."""
    path = pathlib.Path(document)
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, _, rest = path.read_text().partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        sys.exit(f"{document} lacks the lines {begin.strip()} and {end}")
    path.write_text(before + begin + text + end + after)
