"""One run of the original's native client, with all that it does not check.

From codelabs-ch/muen, components/src/muenblock_client.adb and muchannel-readers.adb: always epoch 1, a drain without
effect, no time-out, any packet or error taken for the answer to Reset, tags looked at for questions only, and no word
at the end.
"""

import os
import time
from typing import Optional

import muenblock
import shmstream
from muenblock import Kind, PeerError, Request, Response
from shmstream import Geometry, Reader, Region, Result, Writer

EPOCH = 1
SMART_TAG = 0x534D4152
SYNC_TAG = 21
FIRST_TAG = 0x1000
QUESTIONS = {10: Kind.MEDIA_BLOCKS, 11: Kind.BLOCK_LENGTH, 12: Kind.MAX_BLOCKS_COUNT}
HANG_SECONDS = 20   # the original would wait for ever


class Original:
    def __init__(self, connection: muenblock.Connection, region_dir: str):
        self.regions = [Region(os.path.join(region_dir, name), writable) for name, writable in
                        ((connection.request, True), (connection.response, False), (connection.buffer, True))]
        self.buffer = self.regions[2].bytes
        self.writer = Writer(self.regions[0], Geometry(connection.request_protocol, muenblock.REQUEST_BYTES))
        self.reader = Reader(self.regions[1], Geometry(connection.response_protocol, muenblock.RESPONSE_BYTES), shmstream.ADA)
        self.devices = 0
        self.info = {}

    def __enter__(self) -> "Original":
        return self

    def __exit__(self, *_: object) -> None:
        for region in self.regions:
            region.close()

    def send(self, *requests: Request) -> None:
        for request in requests:
            self.writer.write(request.pack())

    def receive(self) -> Optional[Response]:
        """The next packet, or None for what the original takes for an error."""
        end = time.monotonic() + HANG_SECONDS
        while time.monotonic() < end:
            result, packet = self.reader.read()
            if result is Result.SUCCESS:
                return Response.unpack(packet)
            if result not in (Result.NO_DATA, Result.EPOCH_CHANGED):
                return None
            time.sleep(0.0001)
        raise PeerError("the original waits for ever")

    def initialise(self) -> None:
        self.writer.initialise(EPOCH)
        self.reader.drain_as_ada()
        while self.regions[1].words[shmstream.EPOCH] == 0:
            time.sleep(0.001)
        self.send(Request(Kind.RESET))
        self.receive()
        self.send(Request(Kind.MAX_DEVICES, tag=1))
        answer = self.receive()
        if answer and (answer.kind, answer.tag) == (Kind.MAX_DEVICES, 1):
            self.devices = answer.status
        if self.devices:
            self.send(*(Request(kind, tag=tag) for tag, kind in QUESTIONS.items()))
        while self.devices and len(self.info) < len(QUESTIONS):
            answer = self.receive()
            if answer and answer.tag in QUESTIONS:
                self.info[QUESTIONS[answer.tag]] = answer.status

    def begin(self, kind: int, sector: int, buffer: int, length: int, count: int = 1) -> None:
        """I/Os one behind the other, whose answers nobody awaits yet."""
        self.send(*(Request(kind, 0, FIRST_TAG + index, length, sector + index * length // muenblock.SECTOR_BYTES,
                            buffer + index * length) for index in range(count)))

    def transfer(self, kind: int, sector: int, buffer: int, length: int, count: int = 1) -> bool:
        """Whether all of them succeeded, as far as it can tell."""
        self.begin(kind, sector, buffer, length, count)
        for _ in range(count):
            answer = self.receive()
            if answer is None or answer.status != 0:
                return False
        return True

    def sync(self) -> bool:
        self.send(Request(Kind.SYNC, tag=SYNC_TAG))
        answer = self.receive()
        return answer is not None and (answer.kind, answer.tag, answer.status) == (Kind.SYNC, SYNC_TAG, 0)

    def smart(self) -> int:
        self.send(Request(Kind.GET_SMART, tag=SMART_TAG))
        answer = self.receive()
        return answer.status if answer and (answer.kind, answer.tag) == (Kind.GET_SMART, SMART_TAG) else 0
