#!/usr/bin/env python3
"""A muenblock 2.0 server on image files or block devices: the side that answers. See --help.

It is a plain server, without extensions unless it is told to (--features). --ada gives it the habits of the original
Ada servers (ADA_HABITS), each of which can be chosen by name; --evil makes it break the protocol (evil.py).
"""

import argparse
import ctypes
import os
import random
import signal
import sys
import time
from typing import Callable, FrozenSet, List, Optional

import evil
import muenblock
import shmstream
import wake
from muenblock import Kind, Request, Response, Smart, Status, answer
from shmstream import Geometry, Reader, Region, Result, Writer

ADA_HABITS = {
    "silent": "does not answer None, Max_Requests and kinds that it does not know",
    "merge": "queues requests and executes neighbours as one, judged by bytes although offsets are sectors",
    "unanswered-reset": "Reset executes what is queued without answering it",
    "sync-all": "Sync executes what is queued for all devices, and then flushes the one",
    "no-bounds": "checks neither the device's bounds nor the buffer's nor alignment",
    "epoch-1": "the epoch of the response channel is always 1",
    "product": "of the request channel's geometry it checks size * elements only",
    "drop": "requests that an overrun destroyed are gone without a word",
    "replay": "executes what it finds in the request channel when it starts",
    "same-epoch": "does not see a client that begins anew under the epoch it had",
    "smart": "answers Get_SMART with 1 and 512 bytes at the buffer's start, whatever the request says",
}
BATCH_MAX = 64
MERGED_MAX = 256            # requests in one merged I/O
MERGES_LOGGED_MAX = 5
MAX_BLOCKS_COUNT = 65536    # what the Ada server says: see the recorded session
PUNCH_HOLE_KEEP_SIZE = 0x03
IDLE_SECONDS_MAX = 0.002
RESTART_SECONDS = 0.5       # so that a client sees that there is no server

_fallocate = ctypes.CDLL(None, use_errno=True).fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class Device:
    """An image file or block device. Its methods take bytes and return a status."""

    def __init__(self, path: str, block_length: int, read_only: bool, discard: str):
        self.path, self.block_length, self.read_only, self.discard_as = path, block_length, read_only, discard
        self.descriptor = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
        self.blocks = os.lseek(self.descriptor, 0, os.SEEK_END) // block_length

    @property
    def size(self) -> int:
        return self.blocks * self.block_length

    def read(self, position: int, target: memoryview) -> int:
        done = 0
        if position + len(target) > self.size:
            return Status.IOERR
        while done < len(target):
            count = os.preadv(self.descriptor, [target[done:]], position + done)
            if count == 0:
                return Status.IOERR
            done += count
        return Status.OK

    def write(self, position: int, source: memoryview) -> int:
        done = 0
        if position + len(source) > self.size:
            return Status.IOERR
        while done < len(source):
            done += os.pwrite(self.descriptor, source[done:], position + done)
        return Status.OK

    def discard(self, position: int, length: int) -> int:
        """What is there afterwards is undefined, and by default it is neither what was there nor zeroes."""
        if position + length > self.size:
            return Status.IOERR
        if self.discard_as == "punch":
            if _fallocate(self.descriptor, PUNCH_HOLE_KEEP_SIZE, position, length) != 0:
                return Status.NOTSUPP
        elif self.discard_as == "fill":
            pattern = memoryview(b"\xdd" * min(length, 1 << 20))
            for start in range(0, length, 1 << 20):
                self.write(position + start, pattern[:length - start])
        return Status.OK

    def sync(self) -> int:
        os.fdatasync(self.descriptor)
        return Status.OK


class Queue:
    """What the Ada server keeps for a device until it executes it: one merged I/O."""

    def __init__(self) -> None:
        self.requests: List[Request] = []
        self.length = 0

    def takes(self, request: Request) -> bool:
        if not self.requests:
            return True
        first = self.requests[0]
        return (request.kind == first.kind and len(self.requests) < MERGED_MAX
                and request.buffer_offset == first.buffer_offset + self.length
                and request.device_offset == first.device_offset + self.length)

    def add(self, request: Request) -> None:
        self.requests.append(request)
        self.length += request.length

    def take(self) -> Request:
        """The merged I/O."""
        merged = self.requests[0]._replace(length=self.length)
        self.requests, self.length = [], 0
        return merged


class Port:
    """One connection and its devices."""

    def __init__(self, connection: muenblock.Connection, devices: List[Device], options: argparse.Namespace,
                 misdeeds: evil.Misdeeds, log: Callable[[str], None]):
        self.connection, self.devices, self.misdeeds, self.log = connection, devices, misdeeds, log
        self.habits: FrozenSet[str] = options.ada
        self.offset_unit = muenblock.SECTOR_BYTES if options.offset_unit == "sectors" else 1
        self.shuffle = random.Random(options.shuffle) if options.shuffle is not None else None
        region_dir = options.region_dir
        self.request_region = Region(os.path.join(region_dir, connection.request), writable=False)
        self.response_region = Region(os.path.join(region_dir, connection.response), writable=True)
        self.buffer_region = Region(os.path.join(region_dir, connection.buffer), writable=True)
        self.buffer = self.buffer_region.bytes
        habits = shmstream.ADA if "product" in self.habits else shmstream.LINUX
        self.reader = Reader(self.request_region, Geometry(connection.request_protocol, muenblock.REQUEST_BYTES),
                             habits._replace(backwards_is_new="same-epoch" not in self.habits))
        self.writer = Writer(self.response_region, Geometry(connection.response_protocol, muenblock.RESPONSE_BYTES))
        self._devices_at_first = [(device, device.blocks, device.block_length) for device in devices]
        self.queues = [Queue() for _ in devices]
        self.out: List[Response] = []
        self.answered = self.merged = 0
        self.features = options.features
        self.bell: Optional[wake.Bell] = None       # there once the client has agreed
        if "replay" not in self.habits:
            self.reader.drain()
        self.begin()

    def begin(self) -> None:
        self.writer.initialise(1 if "epoch-1" in self.habits else None)
        if self.features:
            # No hint covers a new epoch, and a client may have agreed with the server before this one.
            bell = wake.Bell(self.response_region, self.request_region, self.reader)
            bell.ring(began_anew=True)
            bell.close()

    def restore_devices(self) -> None:
        """Undoes what misdeeds did to them."""
        self.devices[:] = [device for device, _, _ in self._devices_at_first]
        self.queues = [Queue() for _ in self.devices]
        for device, blocks, block_length in self._devices_at_first:
            device.blocks, device.block_length = blocks, block_length

    def turn(self) -> bool:
        """One batch of requests; whether there was anything to do."""
        if "same-epoch" in self.habits and self.request_region.words[shmstream.EPOCH] == 0:
            return self.misdeeds.turn(self)     # the original looks before it reads, so that its reader forgets nothing
        result, packets = self.reader.read_batch(BATCH_MAX)
        if result is Result.OVERRUN:
            self.log("overrun: requests are lost")
            if "drop" not in self.habits:
                self.begin()    # the client shall know
        elif result in (Result.EPOCH_CHANGED, Result.INCOMPATIBLE):
            self.queues = [Queue() for _ in self.devices]
            self.bell = None
        for packet in packets:
            self._process(Request.unpack(packet))
        if result is Result.NO_DATA:
            self._execute_queues()
        self._publish()
        return result is Result.SUCCESS or self.misdeeds.turn(self)

    def _publish(self) -> None:
        responses, self.out = self.misdeeds.responses(self.out), []
        if self.shuffle:
            self.shuffle.shuffle(responses)
        for start in range(0, len(responses), self.writer.elements):
            self.writer.write(*(response.pack() for response in responses[start:start + self.writer.elements]))
        self.answered += len(responses)
        if responses and self.bell:
            self.bell.ring()

    # --- one request ----------------------------------------------------------------------------------------------
    def _process(self, request: Request) -> None:
        known = request.kind in iter(Kind)
        if request.device >= len(self.devices):
            self._answer(request, Status.NOTSUPP if request.kind in muenblock.WITH_STATUS else 0)
        elif request.kind in muenblock.TRANSFERS:
            self._transfer(request)
        elif request.kind in (Kind.SYNC, Kind.RESET):
            self._barrier(request)
        elif self.features and request.kind == wake.FEATURES:
            mine = wake.FEATURE_AGREES | wake.FEATURE_WAKES_BY_FUTEX
            if request.length & mine == mine:
                self.bell = wake.Bell(self.response_region, self.request_region, self.reader)
            self._answer(request, mine)
        elif not known or request.kind in (Kind.NONE, Kind.MAX_REQUESTS):
            if "silent" not in self.habits:
                self._answer(request, self.writer.elements if request.kind == Kind.MAX_REQUESTS else
                             Status.NOTSUPP if request.kind == Kind.NONE else 0)
        elif request.kind == Kind.GET_SMART:
            self._answer(request, self._smart(request))
        else:
            device = self.devices[request.device]
            self._answer(request, {Kind.MEDIA_BLOCKS: device.blocks, Kind.BLOCK_LENGTH: device.block_length,
                                   Kind.MAX_BLOCKS_COUNT: MAX_BLOCKS_COUNT,
                                   Kind.MAX_DEVICES: len(self.devices)}[Kind(request.kind)])

    def _answer(self, request: Request, status: int) -> None:
        self.out.append(answer(request, status))

    def _smart(self, request: Request) -> int:
        if "smart" not in self.habits:
            return Smart.UNDEFINED
        self.buffer[:muenblock.SMART_BYTES] = bytes(muenblock.SMART_BYTES)
        return Smart.OK

    def _barrier(self, request: Request) -> None:
        if request.kind == Kind.RESET:
            self._execute_queues(answering="unanswered-reset" not in self.habits)
            self._answer(request, Status.OK)
            return
        if "sync-all" in self.habits:
            self._execute_queues()
        else:
            self._execute_queue(request.device)
        self._answer(request, self._status_of(self.devices[request.device].sync))

    # --- transfers ------------------------------------------------------------------------------------------------
    def _transfer(self, request: Request) -> None:
        if "merge" not in self.habits:
            self._answer(request, self._execute(request))
            return
        queue = self.queues[request.device]
        if not queue.takes(request):
            self._execute_queue(request.device)
        queue.add(request)

    def _execute_queues(self, answering: bool = True) -> None:
        for device in range(len(self.devices)):
            self._execute_queue(device, answering)

    def _execute_queue(self, device: int, answering: bool = True) -> None:
        queue = self.queues[device]
        if not queue.requests:
            return
        requests = queue.requests
        if len(requests) > 1:
            self.merged += 1
            if self.merged <= MERGES_LOGGED_MAX:
                self.log(f"merged {', '.join(map(str, requests[:2]))}{', …' if len(requests) > 2 else ''}")
        status = self._execute(queue.take())
        if answering:
            for request in requests:
                self._answer(request, status)

    def _execute(self, request: Request) -> int:
        device = self.devices[request.device]
        position = request.device_offset * self.offset_unit
        if "no-bounds" not in self.habits:
            block = device.block_length
            in_buffer = request.kind == Kind.DISCARD or (
                request.buffer_offset % block == 0 and request.buffer_offset + request.length <= len(self.buffer))
            if request.length == 0 or request.length % block or position % block or not in_buffer \
                    or position + request.length > device.size or request.length > MAX_BLOCKS_COUNT * block:
                return Status.IOERR
        if request.kind != Kind.READ and device.read_only:
            return Status.IOERR
        # Without bounds the slice ends with the buffer, as the disk does where it does: see Device.
        piece = self.buffer[request.buffer_offset:request.buffer_offset + request.length]
        if request.kind == Kind.READ:
            return self._status_of(device.read, position, piece)
        if request.kind == Kind.WRITE:
            return self._status_of(device.write, position, piece)
        return self._status_of(device.discard, position, request.length)

    def _status_of(self, method: Callable[..., int], *arguments: object) -> int:
        try:
            return method(*arguments)
        except (OSError, OverflowError) as error:
            self.log(f"{method.__name__}: {error}")
            return Status.IOERR


def chosen_habits(text: str) -> FrozenSet[str]:
    """all, or names of ADA_HABITS; one that begins with a minus is taken away."""
    habits = set()
    for name in text.split(","):
        names = set(ADA_HABITS) if name.lstrip("-") == "all" else {name.lstrip("-")}
        if not names <= set(ADA_HABITS):
            raise argparse.ArgumentTypeError(f"'{name}' is none of all, {', '.join(ADA_HABITS)}")
        habits = habits - names if name.startswith("-") else habits | names
    return frozenset(habits)


def parse(arguments: Optional[List[str]]) -> argparse.Namespace:
    epilog = "\n".join(["habits:"] + [f"  {name:18}{text}" for name, text in ADA_HABITS.items()] +
                       ["misdeeds:"] + [f"  {name:18}{text}" for name, text in evil.MISDEEDS.items()])
    parser = argparse.ArgumentParser(description="A muenblock 2.0 server.", epilog=epilog,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conn", required=True, type=muenblock.parse_connections,
                        help="id:request:response:buffer[:request_protocol:response_protocol],…")
    parser.add_argument("--device", required=True, type=muenblock.parse_devices, help="path:connection_id,…")
    parser.add_argument("--region-dir", default="/dev/shm/muenblock")
    parser.add_argument("--create-regions", action="store_true")
    parser.add_argument("--offset-unit", choices=("sectors", "bytes"), default="sectors")
    parser.add_argument("--block-length", type=int, default=512)
    parser.add_argument("--read-only", action="store_true")
    parser.add_argument("--discard", choices=("fill", "punch", "ignore"), default="fill", help="what a discard does")
    parser.add_argument("--features", action="store_true", help="agree on waking by futex, with one connection only")
    parser.add_argument("--shuffle", type=int, metavar="SEED", help="answer each batch in a random order")
    parser.add_argument("--ada", nargs="?", const="all", default=frozenset(), metavar="HABIT,…", type=chosen_habits,
                        help="the original's habits; all without a value")
    parser.add_argument("--supervise", metavar="PID-FILE", help="serve in a child, and again when it has ended")
    evil.add_options(parser)
    options = parser.parse_args(arguments)
    if isinstance(options.ada, str):
        options.ada = chosen_habits(options.ada)
    return options


class Server:
    """All connections, in one thread."""

    def __init__(self, options: argparse.Namespace):
        self.end = False
        if options.create_regions:
            os.makedirs(options.region_dir, mode=0o700, exist_ok=True)
        self.ports = [self._port(connection, options) for connection in options.conn]

    def _port(self, connection: muenblock.Connection, options: argparse.Namespace) -> Port:
        if options.create_regions:
            for name, size in ((connection.request, muenblock.REQUEST_REGION_BYTES),
                               (connection.response, muenblock.RESPONSE_REGION_BYTES),
                               (connection.buffer, muenblock.BUFFER_REGION_BYTES)):
                shmstream.create_region(os.path.join(options.region_dir, name), size)
        devices = [Device(path, options.block_length, options.read_only, options.discard)
                   for path in options.device.get(connection.id, [])]
        return Port(connection, devices, options, evil.Misdeeds(options),
                    lambda text: self.log(f"connection {connection.id}: {text}"))

    @staticmethod
    def log(text: str) -> None:
        print(f"server.py: {text}", file=sys.stderr, flush=True)

    def run(self) -> None:
        pause = 0.0
        while not self.end:
            if any([port.turn() for port in self.ports]):
                pause = 0.0
            elif len(self.ports) == 1 and self.ports[0].bell:
                self.ports[0].bell.sleep(1)
            else:
                time.sleep(pause)
                pause = min(pause * 2 + 0.00001, IDLE_SECONDS_MAX)
        for port in self.ports:
            port.writer.deactivate()


def serve(options: argparse.Namespace) -> int:
    server = Server(options)

    def stop(*_: object) -> None:
        server.end = True
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    server.log(f"serving {', '.join(map(str, (port.connection for port in server.ports)))}")
    server.run()
    server.log(f"stopped after {sum(port.answered for port in server.ports)} answers, "
               f"{sum(port.merged for port in server.ports)} merged")
    return 0


def supervise(options: argparse.Namespace) -> int:
    """Has a child serve, and another one when that has ended, however it did. The file has the child's process id.

    For tests in the guest: there Python takes ten seconds to start, and a fork of it a tenth of one.
    """
    def stop(*_: object) -> None:
        raise SystemExit(0)
    while True:
        child = os.fork()
        if child == 0:
            sys.exit(serve(options))
        signal.signal(signal.SIGTERM, stop)
        try:
            with open(options.supervise + ".new", "w", encoding="ascii") as file:
                file.write(f"{child}\n")
            os.rename(options.supervise + ".new", options.supervise)
            os.waitpid(child, 0)
            time.sleep(RESTART_SECONDS)
        except SystemExit:
            os.kill(child, signal.SIGKILL)
            raise
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def main(arguments: Optional[List[str]] = None) -> int:
    options = parse(arguments)
    return supervise(options) if options.supervise else serve(options)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError) as error:
        print(f"server.py: {error}", file=sys.stderr)
        sys.exit(1)
