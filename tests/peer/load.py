"""Random verified I/O on a client's device."""

import random
import time
from typing import TYPE_CHECKING, Dict, List, Optional

from muenblock import Kind, PeerError, Request, RequestFailed, Response, SessionLost, Status

if TYPE_CHECKING:
    from client import Client

PAUSE_SECONDS = 0.00005


class VerifiedLoad:
    """Random reads, writes, discards and syncs with many in flight, where every read is compared with a model.

    Requests in flight never overlap, unless both read. A server that ends and comes back is met with a new handshake
    and with everything again that was in flight.
    """

    KINDS = (Kind.READ, Kind.WRITE, Kind.DISCARD, Kind.SYNC)
    WEIGHTS = (48, 46, 4, 2)

    def __init__(self, client: "Client", device: int = 0, area: int = 8 << 20, depth: int = 64, largest: int = 64 << 10,
                 seed: int = 1, buffer_start: int = 0, merge_safe: bool = False, reconnect: bool = False):
        self.client, self.device, self.depth = client, device, depth
        self.block = client.devices[device].block_length
        self.area = min(area, client.devices[device].size) // self.block * self.block
        self.largest = min(largest, client.devices[device].max_blocks * self.block) // self.block * self.block
        self.random = random.Random(seed)
        self.noise = self.random.randbytes(1 << 20)
        self.merge_safe, self.reconnect = merge_safe, reconnect
        self.slots = [buffer_start + slot * self.largest for slot in range(depth)]
        if not self.largest or self.slots[-1] + self.largest > len(client.buffer):
            raise ValueError(f"{depth} requests of {self.largest} bytes do not fit into the buffer")
        self.model = bytearray(self.area)
        self.known = bytearray(self.area // self.block)     # 1: the block is in the model
        self.busy: Dict[int, Request] = {}                  # in flight, by tag, with what has to be known of it:
        self.writes: Dict[int, bytes] = {}
        self.counts = {kind: 0 for kind in self.KINDS}
        self.compared = self.sessions_lost = 0

    def position(self, request: Request) -> int:
        return request.device_offset * self.client.offset_unit

    def _may_be_sent(self, request: Request) -> bool:
        """Whether it neither overlaps what is in flight nor makes up a pair that the Ada server would merge wrongly."""
        start, end = self.position(request), self.position(request) + request.length
        for other in self.busy.values():
            if other.kind == Kind.SYNC:
                continue
            if {request.kind, other.kind} != {Kind.READ} and \
                    start < self.position(other) + other.length and self.position(other) < end:
                return False
            if self.merge_safe and request.kind == other.kind:
                for first, second in ((request, other), (other, request)):
                    if first.device_offset + first.length == second.device_offset and \
                            first.buffer_offset + first.length == second.buffer_offset:
                        return False
        return True

    def _submit(self) -> None:
        """Fills the slots that are free, as one batch."""
        batch = []
        while len(self.busy) < self.depth:
            kind, = self.random.choices(self.KINDS, self.WEIGHTS)
            if kind == Kind.SYNC:
                if self.client.dialect.sync_tag in self.client.in_flight or \
                        any(other.kind == Kind.SYNC for other in batch):
                    continue
                request = Request(kind, self.device, self.client.dialect.sync_tag or self._free_tag(batch))
            else:
                length = self.block * self.random.choice(
                    (1, self.random.randint(1, 16), self.random.randint(1, self.largest // self.block)))
                length = min(length, self.largest)
                position = self.random.randrange((self.area - length) // self.block + 1) * self.block
                used = {other.buffer_offset for other in self.busy.values() if other.kind != Kind.SYNC}
                slot = self.random.choice([slot for slot in self.slots if slot not in used])
                request = Request(kind, self.device, self._free_tag(batch), length,
                                  position // self.client.offset_unit, slot)
                if not self._may_be_sent(request):
                    break
                self._prepare(request)
            self.busy[request.tag] = request
            batch.append(request)
        if batch:
            self.client.send(*batch)

    def _free_tag(self, batch: List[Request]) -> int:
        tags = {request.tag for request in batch}
        first = self.client.dialect.first_tag
        if first is None:
            return self.client.io_tag()
        return next(tag for tag in range(first, 2 ** 32) if tag not in self.client.in_flight and tag not in tags)

    def _prepare(self, request: Request) -> None:
        slot, blocks = request.buffer_offset, self._blocks(request)
        if request.kind == Kind.WRITE:
            at = self.random.randrange(len(self.noise) - request.length)
            content = self.noise[at:at + request.length]
            self.writes[request.tag] = content
            self.client.buffer[slot:slot + request.length] = content
        elif request.kind == Kind.READ:
            # What a read leaves untouched must not pass for what was there.
            self.client.buffer[slot:slot + request.length] = b"\xee" * request.length
        if request.kind != Kind.READ:
            self.known[blocks] = bytes(blocks.stop - blocks.start)

    def _blocks(self, request: Request) -> slice:
        start = self.position(request) // self.block
        return slice(start, start + request.length // self.block)

    def _finish(self, response: Response) -> None:
        request = self.busy.pop(response.tag)
        if response.status != Status.OK:
            raise RequestFailed(request, response.status)
        self.counts[request.kind] += 1
        if request.kind == Kind.WRITE:
            start = self.position(request)
            self.model[start:start + request.length] = self.writes.pop(request.tag)
            blocks = self._blocks(request)
            self.known[blocks] = b"\1" * (blocks.stop - blocks.start)
        elif request.kind == Kind.READ:
            self._compare(request, self.client.buffer[request.buffer_offset:request.buffer_offset + request.length])

    def _compare(self, request: Request, found: memoryview) -> None:
        start = self.position(request)
        expected = self.model[start:start + request.length]
        if found == expected and all(self.known[self._blocks(request)]):
            self.compared += request.length
            return
        for index, known in enumerate(self.known[self._blocks(request)]):
            piece = slice(index * self.block, (index + 1) * self.block)
            if known:
                self.compared += self.block
                if found[piece] != expected[piece]:
                    raise PeerError(f"wrong data: {request}, block {start // self.block + index}: "
                                    f"{bytes(found[piece][:16]).hex()} instead of {expected[piece][:16].hex()}")

    def turn(self) -> None:
        """Sends what fits, and takes what has come."""
        try:
            self._submit()
            for response in self.client.receive():
                self._finish(response)
        except SessionLost:
            if not self.reconnect:
                raise
            self._again()

    def _again(self) -> None:
        self.sessions_lost += 1
        before = [device[:2] for device in self.client.devices]
        while True:
            if [device[:2] for device in self.client.connect()] != before:
                raise PeerError(f"the devices are others now: {self.client.devices} after {before}")
            try:
                self.client.send(*self.busy.values())
                return
            except SessionLost:
                continue

    def run(self, seconds: float, requests: Optional[int] = None) -> None:
        """Goes on for a time, or until so many requests are done, and then takes the answers that are missing."""
        end = time.monotonic() + seconds
        done = 0
        while time.monotonic() < end and (requests is None or done < requests):
            self.turn()
            now = sum(self.counts.values())
            if now == done:
                time.sleep(PAUSE_SECONDS)
            done = now
        self.finish()

    def finish(self) -> None:
        """Takes the answers that are missing, and reads everything once more."""
        deadline = time.monotonic() + self.client.timeout
        while self.busy:
            try:
                for response in self.client.receive():
                    self._finish(response)
            except SessionLost:
                if not self.reconnect:
                    raise
                self._again()
            if time.monotonic() > deadline:
                raise PeerError(f"{len(self.busy)} answers did not come in time, for example to "
                                f"{next(iter(self.busy.values()))}")
            time.sleep(PAUSE_SECONDS)
        for start in range(0, self.area, self.largest):
            length = min(self.largest, self.area - start)
            content = self.client.read(self.device, start, length, self.slots[0])
            self._compare(Request(Kind.READ, length=length, device_offset=start // self.client.offset_unit),
                          memoryview(content))

    def summary(self) -> str:
        counts = ", ".join(f"{count} {kind.name.lower()}" for kind, count in self.counts.items())
        return f"{counts}; {self.compared >> 20} MiB compared, {self.sessions_lost} sessions lost"
