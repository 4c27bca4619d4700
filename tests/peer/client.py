#!/usr/bin/env python3
"""A muenblock 2.0 client: the side that asks. A library, and a command line (see --help).

It behaves like a plain Linux client (random epoch, tags used once) or has the epoch and the tags of the original Ada
client, whose carelessness is in original.py. It asks for no features and announces no sleep, unless it is told to.
"""

import argparse
import hashlib
import os
import secrets
import sys
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

import muenblock
import shmstream
import wake
from load import VerifiedLoad
from muenblock import Kind, PeerError, Request, RequestFailed, Response, SessionLost, Status
from shmstream import Geometry, Reader, Region, Result, Writer

SLEEP_SECONDS_MIN = 0.00005
SLEEP_SECONDS_MAX = 0.002
BELL_SECONDS_MAX = 5    # a sleep that is as long has missed its wake


class Dialect(NamedTuple):
    """What tells clients apart."""

    name: str
    epoch: Optional[int]            # None: a random one each time
    reset_tag: Optional[int]        # None: the next one
    info_tags: Dict[Kind, int]      # empty: the next one
    first_tag: Optional[int]        # of I/O, with the number in flight added; None: a random one and then the next
    sync_tag: Optional[int]
    habits: shmstream.ReaderHabits
    batch: int                      # answers taken at once


LINUX = Dialect("linux", None, None, {}, None, None, shmstream.LINUX, batch=256)
ADA = Dialect("ada", 1, 0, {Kind.MAX_DEVICES: 1, Kind.MEDIA_BLOCKS: 10, Kind.BLOCK_LENGTH: 11,
                            Kind.MAX_BLOCKS_COUNT: 12, Kind.GET_SMART: 0x534D4152},
              0x1000, 0x15, shmstream.ADA, batch=1)
DIALECTS = {dialect.name: dialect for dialect in (LINUX, ADA)}


class Device(NamedTuple):
    blocks: int
    block_length: int
    max_blocks: int

    @property
    def size(self) -> int:
        return self.blocks * self.block_length


class Client:
    """One connection. Not for several threads."""

    def __init__(self, connection: muenblock.Connection, region_dir: str, dialect: Dialect = LINUX,
                 offset_unit: int = muenblock.SECTOR_BYTES, timeout: float = 20,
                 features: bool = False):
        self.dialect = dialect
        self.offset_unit = offset_unit
        self.timeout = timeout
        self.request_region = Region(os.path.join(region_dir, connection.request), writable=True)
        self.response_region = Region(os.path.join(region_dir, connection.response), writable=False)
        self.buffer_region = Region(os.path.join(region_dir, connection.buffer), writable=True)
        self.buffer = self.buffer_region.bytes
        self.writer = Writer(self.request_region, Geometry(connection.request_protocol, muenblock.REQUEST_BYTES))
        self.reader = Reader(self.response_region, Geometry(connection.response_protocol, muenblock.RESPONSE_BYTES),
                             dialect.habits)
        self.in_flight_max = min(self.writer.elements, self.reader.slots)
        self.in_flight: Dict[int, Request] = {}
        self.devices: List[Device] = []
        self.passed_over = 0    # answers before that to the Reset
        self._next_tag = secrets.randbits(32)
        self._wants_bell = features
        self.bell: Optional[wake.Bell] = None       # there once the server has agreed

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, deactivate: bool = True) -> None:
        if deactivate and self.dialect.epoch is None:
            self.writer.deactivate()
        if self.bell:
            self.bell.ring(began_anew=True)
            self.bell.close()
        for region in (self.request_region, self.response_region, self.buffer_region):
            region.close()

    # --- a session ------------------------------------------------------------------------------------------------
    def connect(self, initialise: bool = True) -> List[Device]:
        """What docs/wire-format.md calls the "Life of a connection", until the devices are known."""
        deadline = time.monotonic() + self.timeout
        self.in_flight.clear()
        self.passed_over = 0
        if initialise:
            self.writer.initialise(self.dialect.epoch)
            if self.bell:
                self.bell.ring(began_anew=True)
        self.reader.drain()
        self._wait(lambda: self.response_region.words[shmstream.EPOCH] != 0, deadline, "an active response channel")
        if self.reader.epoch == 0:
            self.reader.drain()
        while True:
            try:
                self._reset(deadline)
                if self._wants_bell:
                    self._agree(deadline)
                self.devices = self._ask_devices(deadline)
                return self.devices
            except SessionLost:
                # The server began anew just now: what was asked before is lost.
                self.in_flight.clear()

    def _reset(self, deadline: float) -> None:
        reset = Request(Kind.RESET, tag=self._tag(self.dialect.reset_tag))
        self.send(reset)

        def look() -> bool:
            for response in iter(lambda: next(iter(self._receive(1)), None), None):
                if response[:3] == reset[:3]:
                    if response.status != Status.OK:
                        raise PeerError(f"Reset was answered with {response.status}")
                    return True
                self.passed_over += 1
            return False
        self._wait(look, deadline, "the answer to Reset")
        self.in_flight.clear()

    def _agree(self, deadline: float) -> None:
        """Asks once for a server that wakes by futex. (One that does not know the kind may not answer: no default.)"""
        mine = wake.FEATURE_AGREES | wake.FEATURE_WAKES_BY_FUTEX
        theirs, = self.exchange([Request(wake.FEATURES, tag=self._tag(), length=mine)], deadline)
        if theirs & mine != mine:
            raise PeerError(f"a server that does not wake by futex: its features are {theirs:#x}")
        self.bell = self.bell or wake.Bell(self.request_region, self.response_region, self.reader)

    def _ask_devices(self, deadline: float) -> List[Device]:
        count = self.ask(Kind.MAX_DEVICES, deadline=deadline)[0]
        if not 0 <= count <= 0xFFFF:
            raise PeerError(f"{count} devices")
        devices = [Device(*self.ask(Kind.MEDIA_BLOCKS, Kind.BLOCK_LENGTH, Kind.MAX_BLOCKS_COUNT,
                                    device=device, deadline=deadline)) for device in range(count)]
        for device in devices:
            if 0 in device or device.block_length % muenblock.SECTOR_BYTES or device.size >= 2 ** 63:
                raise PeerError(f"a device that cannot be: {device}")
        return devices

    def ask(self, *kinds: int, device: int = 0, deadline: Optional[float] = None) -> List[int]:
        """The values of info kinds, asked together."""
        requests = [Request(kind, device, self._tag(self.dialect.info_tags.get(kind))) for kind in kinds]
        return self.exchange(requests, deadline)

    # --- requests and answers -------------------------------------------------------------------------------------
    def _tag(self, fixed: Optional[int] = None) -> int:
        if fixed is not None:
            return fixed
        while True:
            self._next_tag = (self._next_tag + 1) % 2 ** 32
            if self._next_tag not in self.in_flight:
                return self._next_tag

    def io_tag(self) -> int:
        if self.dialect.first_tag is None:
            return self._tag()
        return next(tag for tag in range(self.dialect.first_tag, 2 ** 32) if tag not in self.in_flight)

    def send(self, *requests: Request) -> None:
        """Writes requests, as one batch."""
        if len(self.in_flight) + len(requests) > self.in_flight_max:
            raise ValueError("more in flight than the channels hold")
        for request in requests:
            if request.tag in self.in_flight:
                raise ValueError(f"tag {request.tag:#x} is in flight")
            self.in_flight[request.tag] = request
        self.writer.write(*(request.pack() for request in requests))
        if self.bell:
            self.bell.ring()

    def _receive(self, limit: int) -> List[Response]:
        result, packets = self.reader.read_batch(limit)
        if result is Result.SUCCESS:
            return [Response.unpack(packet) for packet in packets]
        if result is Result.NO_DATA:
            return []
        if result in (Result.EPOCH_CHANGED, Result.INACTIVE):
            raise SessionLost(result.value)
        raise PeerError(f"the response channel: {result.value}")

    def receive(self) -> List[Response]:
        """Answers that have come, each of which is to something in flight."""
        responses = self._receive(self.dialect.batch)
        for response in responses:
            request = self.in_flight.pop(response.tag, None)
            if request is None:
                raise PeerError(f"an answer that nothing asked for: {response}")
            if (request.kind, request.device) != (response.kind, response.device):
                raise PeerError(f"{request} was answered with {response}")
        return responses

    def exchange(self, requests: List[Request], deadline: Optional[float] = None) -> List[int]:
        """Sends requests and returns their statuses, when all are there."""
        statuses: Dict[int, int] = {}
        self.send(*requests)

        def look() -> bool:
            statuses.update((response.tag, response.status) for response in self.receive())
            return all(request.tag in statuses for request in requests)
        self._wait(look, deadline, f"answers to {requests}")
        return [statuses[request.tag] for request in requests]

    def wait_for_answers(self, seconds: Optional[float] = None) -> List[Response]:
        """At least one answer."""
        responses: List[Response] = []
        deadline = time.monotonic() + (self.timeout if seconds is None else seconds)
        self._wait(lambda: responses.extend(self.receive()) or responses, deadline,
                   f"one of {len(self.in_flight)} answers")
        return responses

    def _wait(self, look: Callable[[], object], deadline: Optional[float], what: str) -> None:
        deadline = deadline or time.monotonic() + self.timeout
        pause = SLEEP_SECONDS_MIN
        while not look():
            if time.monotonic() > deadline:
                raise PeerError(f"{what}: not in time")
            if self.bell:
                self.bell.sleep(min(BELL_SECONDS_MAX, max(0.001, deadline - time.monotonic())))
            else:
                time.sleep(pause)
                pause = min(pause * 2, SLEEP_SECONDS_MAX)

    # --- I/O, one after the other; positions and lengths in bytes ---------------------------------------------------
    def request(self, kind: int, device: int, position: int, length: int, buffer: int) -> Request:
        return Request(kind, device, self.io_tag(), length, position // self.offset_unit, buffer)

    def transfer(self, kind: int, device: int, position: int, length: int, buffer: int = 0) -> None:
        """Reads, writes or discards in pieces of at most Max_Blocks_Count."""
        largest = self.devices[device].max_blocks * self.devices[device].block_length
        for done in range(0, length, largest):
            request = self.request(kind, device, position + done, min(largest, length - done), buffer + done)
            status, = self.exchange([request])
            if status != Status.OK:
                raise RequestFailed(request, status)

    def read(self, device: int, position: int, length: int, buffer: int = 0) -> bytes:
        self.transfer(Kind.READ, device, position, length, buffer)
        return bytes(self.buffer[buffer:buffer + length])

    def write(self, device: int, position: int, content: bytes, buffer: int = 0) -> None:
        self.buffer[buffer:buffer + len(content)] = content
        self.transfer(Kind.WRITE, device, position, len(content), buffer)

    def discard(self, device: int, position: int, length: int) -> None:
        self.transfer(Kind.DISCARD, device, position, length)

    def smart(self, device: int, buffer: int = 0x10000) -> Tuple[int, str]:
        """The status, and what the 512 bytes in the buffer are then, as hexadecimal digits."""
        around = slice(buffer - 512, buffer + 1024)
        self.buffer[around] = b"\xa5" * 1536
        status, = self.exchange([Request(Kind.GET_SMART, device, self._tag(), buffer_offset=buffer)])
        found = bytes(self.buffer[around])
        if found[:512] + found[1024:] != b"\xa5" * 1024:
            raise PeerError("Get_SMART wrote beside its 512 bytes")
        return status, found[512:1024].hex()

    def sync(self, device: int) -> None:
        request = Request(Kind.SYNC, device, self._tag(self.dialect.sync_tag))
        status, = self.exchange([request])
        if status != Status.OK:
            raise RequestFailed(request, status)


# --- the command line -----------------------------------------------------------------------------------------------
def ada_example(client: Client) -> List[int]:
    """The "Recorded session" of docs/wire-format.md after its first five requests, and whether what was written is read."""
    length = 0x40000
    smart = client.ask(Kind.GET_SMART)[0]
    client.discard(0, 0, length)
    content = hashlib.shake_128(b"muenblock").digest(length)
    client.write(0, 0, content)
    client.sync(0)
    if client.read(0, 0, length, 0x40000) != content:
        raise PeerError("the example read something else than it wrote")
    return [smart]


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(description="A muenblock 2.0 client.")
    parser.add_argument("--conn", required=True, help="id:request:response:buffer[:request_protocol:response_protocol]")
    parser.add_argument("--region-dir", default="/dev/shm/muenblock")
    parser.add_argument("--dialect", choices=sorted(DIALECTS), default="linux")
    parser.add_argument("--offset-unit", choices=("sectors", "bytes"), default="sectors")
    parser.add_argument("--features", action="store_true", help="agree on waking by futex")
    parser.add_argument("--timeout", type=float, default=20, metavar="SECONDS")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("info", help="print the devices")
    verbs.add_parser("smart", help="print each device's SMART status and data")
    verbs.add_parser("example", help="the session of the original example program")
    for name, text in (("read", "standard output gets the bytes"), ("write", "standard input has the bytes"),
                       ("discard", ""), ("sync", "")):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("--device", type=int, default=0)
        if name != "sync":
            verb.add_argument("--position", type=int, default=0, metavar="BYTES")
        if name in ("read", "discard"):
            verb.add_argument("--length", type=int, required=True, metavar="BYTES")
    verify = verbs.add_parser("verify", help="random verified I/O; destroys what is there")
    verify.add_argument("--device", type=int, default=0)
    verify.add_argument("--seconds", type=float, default=5)
    verify.add_argument("--depth", type=int, default=64)
    verify.add_argument("--area", type=int, default=8 << 20, metavar="BYTES")
    verify.add_argument("--largest", type=int, default=64 << 10, metavar="BYTES")
    verify.add_argument("--seed", type=int, default=1)
    verify.add_argument("--merge-safe", action="store_true", help="for the Ada server: no pairs that it merges wrongly")
    verify.add_argument("--reconnect", action="store_true", help="go on when the server comes back")
    options = parser.parse_args(arguments)

    connection, = muenblock.parse_connections(options.conn)
    unit = muenblock.SECTOR_BYTES if options.offset_unit == "sectors" else 1
    with Client(connection, options.region_dir, DIALECTS[options.dialect], unit, options.timeout,
                options.features) as client:
        client.connect()
        if options.verb == "info":
            for number, device in enumerate(client.devices):
                print(f"device {number}: {device.blocks} blocks of {device.block_length} bytes, "
                      f"at most {device.max_blocks} at once")
        elif options.verb == "example":
            print(f"SMART {ada_example(client)[0]}; wrote, synced, read and compared")
        elif options.verb == "smart":
            for number in range(len(client.devices)):
                print(number, *client.smart(number))
        elif options.verb == "read":
            sys.stdout.buffer.write(client.read(options.device, options.position, options.length))
        elif options.verb == "write":
            client.write(options.device, options.position, sys.stdin.buffer.read())
        elif options.verb == "discard":
            client.discard(options.device, options.position, options.length)
        elif options.verb == "sync":
            client.sync(options.device)
        else:
            load = VerifiedLoad(client, options.device, options.area, options.depth, options.largest, options.seed,
                                merge_safe=options.merge_safe, reconnect=options.reconnect)
            load.run(options.seconds)
            print(load.summary())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (PeerError, SessionLost, RequestFailed, OSError, ValueError) as error:
        print(f"client.py: {error}", file=sys.stderr)
        sys.exit(1)
