"""What the tests share: programs as processes, images, clients that misbehave, and what must hold after each test."""

import collections
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from typing import Callable, List, Optional

import client
import muenblock
import shmstream
from load import VerifiedLoad
from muenblock import Connection, Request, Response
from shmstream import Result

HERE = os.path.dirname(os.path.abspath(__file__))
VECTORS = os.path.join(HERE, "..", "vectors")
PROGRAMS = os.environ.get("MUENBLOCK_OUT", os.path.join(HERE, "..", "..", "out"))
BACKEND = os.path.join(PROGRAMS, "muenblock-backend")
LOG_LINES_MAX = 100
# Generous: the machine may be busy, and nothing here is a measurement.
START_SECONDS = 30
STOP_SECONDS = 30
ANSWER_SECONDS = 20
# For what must not come. A miss makes a test weaker, not wrong.
QUIET_SECONDS = 0.3

LINUX_PAIR = Connection(1, "request", "response", "buffer")
ADA_PAIR = Connection(1, "request", "response", "buffer", *muenblock.ADA_PROTOCOLS)
SECOND_PAIR = Connection(2, "request2", "response2", "buffer2")


def wait_until(look: Callable[[], object], what: str, seconds: float = ANSWER_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            raise AssertionError(f"not in time: {what}")
        time.sleep(0.002)


def vector(name: str) -> bytes:
    with open(os.path.join(VECTORS, name), "rb") as file:
        return file.read()


class Program:
    """A server as a process, whose standard error is kept."""

    def __init__(self, command: List[str], log: str):
        self.log_path = log
        self.end_checked = False
        with open(log, "ab") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def log(self) -> List[str]:
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Asks it to end, and returns its exit status, or that of a killed one."""
        if self.is_alive():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode

    def cpu_seconds(self) -> float:
        """What all of its threads have used."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            user, system = file.read().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def resident_kib(self) -> int:
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])


class Probe(client.Client):
    """A client that sends what a client should not, and tells what comes back."""

    def raw(self, *requests: Request) -> None:
        """Writes requests whatever is in flight."""
        for start in range(0, len(requests), self.writer.elements):
            self.writer.write(*(request.pack() for request in requests[start:start + self.writer.elements]))

    def raw_answers(self, count: int, seconds: float = ANSWER_SECONDS) -> List[Response]:
        """So many answers, or as many as have come in time."""
        responses: List[Response] = []
        deadline = time.monotonic() + seconds
        while len(responses) < count and time.monotonic() < deadline:
            result, packets = self.reader.read_batch(256)
            responses += [Response.unpack(packet) for packet in packets]
            if result is not Result.SUCCESS:
                time.sleep(0.0005)
        return responses

    def status(self, request: Request, seconds: float = ANSWER_SECONDS) -> Optional[int]:
        """The status of the answer to a request, whose tag is chosen here, or None."""
        request = request._replace(tag=self._tag())
        self.raw(request)
        responses = self.raw_answers(1, seconds)
        if not responses:
            return None
        if responses[0][:3] != request[:3]:
            raise AssertionError(f"{request} was answered with {responses[0]}")
        return responses[0].status

    def response_epoch(self) -> int:
        return self.response_region.words[shmstream.EPOCH]


class Case(unittest.TestCase):
    """A directory for regions and images in memory, and what has to be ended."""

    maxDiff = None

    def setUp(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="muenblock-peer.", dir="/dev/shm")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.regions = os.path.join(self.directory, "regions")
        os.mkdir(self.regions, 0o700)
        self.log_path = os.path.join(self.directory, "log")

    def image(self, name: str, size: int) -> str:
        path = os.path.join(self.directory, name)
        with open(path, "wb") as file:
            file.truncate(size)
        return path

    def contents(self, path: str, position: int, length: int) -> bytes:
        with open(path, "rb") as file:
            file.seek(position)
            return file.read(length)

    def region(self, name: str, writable: bool = True) -> shmstream.Region:
        region = shmstream.Region(os.path.join(self.regions, name), writable)
        self.addCleanup(region.close)
        return region

    def start(self, command: List[str], connections: List[Connection]) -> Program:
        """Starts a server and waits until its response channels are active."""
        def is_active(connection: Connection) -> bool:
            path = os.path.join(self.regions, connection.response)
            if not os.path.exists(path) or os.path.getsize(path) < shmstream.HEADER_BYTES:
                return False
            region = shmstream.Region(path, writable=False)
            active = region.words[shmstream.EPOCH] != 0
            region.close()
            return active

        # A server that was killed left its channels active, so its successor's log has to be looked at, too.
        with open(self.log_path, "ab") as log:
            logged = log.tell()
        program = Program(command, self.log_path)
        self.addCleanup(program.stop)

        def is_ready() -> bool:
            with open(self.log_path, "rb") as log:
                log.seek(logged)
                serving = b"serving" in log.read()
            return serving and all(is_active(connection) for connection in connections)
        wait_until(lambda: is_ready() or not program.is_alive(), "active response channels", START_SECONDS)
        if not program.is_alive():
            raise AssertionError("the server ended: " + "\n".join(program.log()))
        return program

    def client(self, connection: Connection = LINUX_PAIR, dialect: client.Dialect = client.LINUX,
               connect: bool = True, **options: int) -> Probe:
        probe = Probe(connection, self.regions, dialect, timeout=ANSWER_SECONDS, **options)
        self.addCleanup(probe.close)
        if connect:
            probe.connect()
        return probe


class PythonServerCase(Case):
    """Tests of the Python client against the Python server."""

    def serve(self, connection: Connection, image: str, *options: str) -> Program:
        return self.start([sys.executable, os.path.join(HERE, "server.py"), "--conn", str(connection), "--device",
                           f"{image}:{connection.id}", "--region-dir", self.regions, "--create-regions", *options],
                          [connection])


class BackendCase(Case):
    """Tests of muenblock-backend. Each ends with a backend that is alive, has logged little, and ends with 0."""

    def serve(self, connections: List[Connection], devices: List[str], *options: str) -> Program:
        program = self.start([BACKEND, "serve", "--conn", ",".join(map(str, connections)), "--device",
                              ",".join(devices), "--region-dir", self.regions, "--create-regions", *options],
                             connections)
        self.addCleanup(self.stop, program)
        return program

    def stop(self, program: Program) -> None:
        """Ends it, unless it has been ended."""
        if program.end_checked or program.process.returncode == -signal.SIGKILL:
            return
        program.end_checked = True
        log = "\n".join(program.log())
        self.assertTrue(program.is_alive(), f"the backend has ended with {program.process.returncode}:\n{log}")
        self.assertEqual(program.stop(), 0, f"the backend's exit status; its log:\n{log}")
        lines = program.log()
        # Times, and numbers that a client chose, would make many of one.
        kinds = collections.Counter(re.sub(r"\b(0x)?[0-9a-f]*\d[0-9a-f]*\b", "N", line[25:]) for line in lines)
        self.assertLess(len(lines), LOG_LINES_MAX, "the log floods: " +
                        "\n".join(f"{count} x {kind}" for kind, count in kinds.most_common(6)))
        self.assertNotRegex("\n".join(kinds), r"(?i)unhandled|internal|exception|   at ", "a fault of the backend")

    def assert_serves(self, connection: Connection = LINUX_PAIR, seed: Optional[int] = None) -> None:
        """That a well-behaved client gets what it asks for."""
        with Probe(connection, self.regions, timeout=ANSWER_SECONDS) as good:
            good.connect()
            self.assertGreater(len(good.devices), 0)
            load = VerifiedLoad(good, depth=32, largest=16 << 10, area=2 << 20,
                                       seed=seed or secrets.randbits(32))
            load.run(ANSWER_SECONDS, requests=200)

    def assert_logged(self, program: Program, pattern: str) -> None:
        """That a line names the rule that was broken."""
        wait_until(lambda: re.search(pattern, "\n".join(program.log())), f"a line that matches '{pattern}' in:\n"
                   + "\n".join(program.log()[:10]), 5)
