"""Runs unittest files and says what became of each test, in lines like those of tests/report.sh.

usage: report.py PATTERN [PART-OF-A-NAME...]
"""

import sys
import time
import traceback
import unittest
from typing import Iterator


class Lines(unittest.TestResult):
    """One line for a test, and below one that failed, indented, all that is known of it."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = self.skips = 0
        self._started = 0.0
        self._problems = []

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._started = time.monotonic()
        self._problems = []

    def _line(self, result: str, test: unittest.TestCase, details: str = "") -> None:
        module, _, name = test.id().rpartition(".")
        seconds = time.monotonic() - self._started
        print(f"{result:7} {seconds:6.1f} s  {module.split('.')[0]}: {name[5:].replace('_', ' ')}")
        for line in details.splitlines():
            print(f"    {line}")
        sys.stdout.flush()

    def addFailure(self, test: unittest.TestCase, err) -> None:
        self._problems.append(self._exc_info_to_string(err, test))

    addError = addFailure

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err) -> None:
        if err is not None:
            self._problems.append(f"{subtest}\n{self._exc_info_to_string(err, test)}")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self.skips += 1
        self._line("skipped", test, reason)

    def addSuccess(self, test: unittest.TestCase) -> None:
        """stopTest decides: a subtest or a clean-up may have failed."""
        self.successful = test

    def stopTest(self, test: unittest.TestCase) -> None:
        if self._problems:
            self.failures.append((test, ""))
            self._line("FAILED", test, "\n".join(self._problems))
        elif getattr(self, "successful", None) is test:
            self.passed += 1
            self._line("ok", test)
        super().stopTest(test)


def tests_in(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests_in(test)
        else:
            yield test


def main(pattern: str, parts: list) -> int:
    loader = unittest.TestLoader()
    suite = loader.discover(sys.path[0], pattern=pattern)
    lines = Lines()
    for test in tests_in(suite):
        name = test.id() + " " + test.id().replace("_", " ")
        if not parts or any(part in name for part in parts):
            test.run(lines)
    print(f"{lines.passed} passed, {len(lines.failures)} failed" + (f", {lines.skips} skipped" if lines.skips else ""))
    return 1 if lines.failures or not lines.passed else 0


if __name__ == "__main__":
    try:
        status = main(sys.argv[1], sys.argv[2:])
    except Exception:  # else its exit status would be that of failed tests, which were reported
        traceback.print_exc()
        status = 2
    sys.exit(status)
