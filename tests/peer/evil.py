"""How server.py breaks the protocol, for tests of a client: each misdeed by its name."""

import argparse
import os
import random
import time
from typing import TYPE_CHECKING, List

import muenblock
import shmstream
from muenblock import Kind, Response

if TYPE_CHECKING:
    import server

MISDEEDS = {
    "wrong-tag": "answers with a tag that nobody used",
    "wrong-kind": "answers with another kind",
    "wrong-device": "answers with another device",
    "wrong-status": "answers transfers with statuses that do not exist",
    "duplicate": "answers everything twice",
    "unsolicited": "writes answers that nobody asked for",
    "lost": "does not answer some requests",
    "silence": "answers nothing",
    "epoch-flips": "begins its channel anew every few turns",
    "same-epoch": "begins its channel anew under the same epoch",
    "inactive": "ends its channel, and comes back a second later",
    "backwards": "sets wc back",
    "ahead": "sets wc far ahead of what it wrote",
    "huge": "sets wc and wsc close to 2^64",
    "overrun": "writes more answers than the ring holds",
    "header": "fills the header with random words",
    "resize": "changes size, elements and protocol in the header of a channel that goes on",
    "hints": "announces sleeps all the time, each under another number",
    "buffer": "writes random bytes all over the buffer, whoever it belongs to",
    "garbage": "fills the whole channel with random bytes",
    "shrink": "begins anew with half the blocks",
    "grow": "begins anew with twice the blocks (where the new half is, it fails)",
    "block-length": "begins anew with blocks of eight times the length",
    "no-devices": "begins anew with no devices",
    "many-devices": "says that it has 65536 devices",
    "zero-geometry": "answers 0 blocks, 0 bytes, at most 0 blocks",
    "huge-geometry": "answers close to 2^64 for blocks, bytes, and blocks at most",
}
# What is done once, and not again and again.
ONCE = ("inactive", "shrink", "grow", "block-length", "no-devices", "same-epoch")
GEOMETRY = {
    "many-devices": {Kind.MAX_DEVICES: 65536},
    "zero-geometry": {Kind.MEDIA_BLOCKS: 0, Kind.BLOCK_LENGTH: 0, Kind.MAX_BLOCKS_COUNT: 0},
    "huge-geometry": {Kind.MEDIA_BLOCKS: 2 ** 64 - 1, Kind.BLOCK_LENGTH: 2 ** 63, Kind.MAX_BLOCKS_COUNT: 2 ** 64 - 1},
}
# What is answered wrongly: a client that gets no answer to its questions would never get so far as to see the rest.
IO = (Kind.READ, Kind.WRITE, Kind.DISCARD, Kind.SYNC)
TURNS_BETWEEN = 20
LOOK_SECONDS = 0.1
INACTIVE_TURNS = 500


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--evil", default="", metavar="MISDEED,…", type=chosen, help="what to do wrong")
    parser.add_argument("--evil-after", type=int, default=0, metavar="N", help="begin after N answers")
    parser.add_argument("--evil-for", type=int, default=2 ** 63, metavar="N", help="end after N misdeeds")
    parser.add_argument("--evil-seconds", type=float, default=0, metavar="SECONDS",
                        help="so long after the first misdeed be a good server, as if that one had been restarted")
    parser.add_argument("--evil-seed", type=int, default=1)
    parser.add_argument("--evil-file", metavar="FILE",
                        help="do what the file says, as it changes: MISDEED,… and, after a space, how often; "
                        "as long as it is empty be a good server")


def chosen(text: str) -> List[str]:
    names = [name for name in text.split(",") if name]
    if not set(names) <= set(MISDEEDS):
        raise argparse.ArgumentTypeError(f"'{text}': there are only {', '.join(MISDEEDS)}")
    return names


class Misdeeds:
    """What one connection does wrong: server.Port calls it before it answers, and in every turn."""

    def __init__(self, options: argparse.Namespace):
        self.names: List[str] = options.evil
        self.after, self.left = options.evil_after, options.evil_for
        self.random = random.Random(options.evil_seed)
        self.turns = self.answers = self.inactive_for = 0
        self.done: List[str] = []
        self.seconds = options.evil_seconds
        self.since = 0.0
        self.orders = ""
        self.file, self.looked = options.evil_file, 0.0

    def _now(self) -> bool:
        now = bool(self.names) and self.answers >= self.after and self.left > 0
        if now and not self.since:
            self.since = time.monotonic()
        return now

    def _reform(self, port: "server.Port") -> None:
        self.names, self.inactive_for = [], 0
        port.restore_devices()
        port.begin()

    def _obey(self, port: "server.Port") -> None:
        """Takes new orders, if there are any."""
        if not self.file or time.monotonic() < self.looked + LOOK_SECONDS:
            return
        self.looked = time.monotonic()
        with open(self.file, encoding="ascii") as file:
            orders = file.read().strip()
        if orders == self.orders:
            return
        self.orders = orders
        names, _, often = orders.partition(" ")
        self._reform(port)
        self.names, self.done, self.left = chosen(names), [], int(often or 2 ** 63)
        port.log(f"obeying '{orders}'")

    def responses(self, responses: List[Response]) -> List[Response]:
        """What is written instead of the right answers."""
        if not self._now():
            self.answers += len(responses)
            return responses
        for name in self.names:
            change = getattr(self, "_answer_" + name.replace("-", "_"), None)
            if name in GEOMETRY:
                responses = [response._replace(status=GEOMETRY[name].get(response.kind, response.status))
                             for response in responses]
            elif change and responses:
                responses = change(responses)
                self.left -= 1
        self.answers += len(responses)
        return responses

    def _answer_wrong_tag(self, responses: List[Response]) -> List[Response]:
        return [response._replace(tag=response.tag ^ 0x80000000) if response.kind in IO else response
                for response in responses]

    def _answer_wrong_kind(self, responses: List[Response]) -> List[Response]:
        return [response._replace(kind=self.random.choice([Kind.NONE, response.kind ^ 1, 0xFFFF, Kind.RESET]))
                if response.kind in IO else response for response in responses]

    def _answer_wrong_device(self, responses: List[Response]) -> List[Response]:
        return [response._replace(device=self.random.choice([response.device ^ 1, 0xFFFF])) if response.kind in IO
                else response for response in responses]

    def _answer_wrong_status(self, responses: List[Response]) -> List[Response]:
        return [response._replace(status=self.random.choice([11, 2 ** 31, 2 ** 32, 2 ** 64 - 1]))
                if response.kind in muenblock.WITH_STATUS and response.kind != Kind.RESET else response
                for response in responses]

    def _answer_duplicate(self, responses: List[Response]) -> List[Response]:
        return responses + responses

    def _answer_unsolicited(self, responses: List[Response]) -> List[Response]:
        return responses + [Response(self.random.choice(list(Kind)), self.random.randrange(3),
                                     self.random.randrange(2 ** 32), self.random.choice([0, 10]))]

    def _answer_lost(self, responses: List[Response]) -> List[Response]:
        return [response for response in responses if self.random.random() < 0.9]

    def _answer_silence(self, _: List[Response]) -> List[Response]:
        return []

    def turn(self, port: "server.Port") -> bool:
        """What is done to the channel apart from answers; whether anything was."""
        self._obey(port)
        if self.names and self.seconds and self.since and time.monotonic() > self.since + self.seconds:
            self._reform(port)
        if self.inactive_for:
            self.inactive_for -= 1
            if not self.inactive_for:
                port.begin()
            return False
        self.turns += 1
        if not self._now() or self.turns % TURNS_BETWEEN:
            return False
        acted = False
        for name in self.names:
            act = getattr(self, "_channel_" + name.replace("-", "_"), None)
            if act and not (name in ONCE and name in self.done):
                self.done.append(name)
                act(port)
                self.left -= 1
                acted = True
        return acted

    def _channel_epoch_flips(self, port: "server.Port") -> None:
        port.begin()

    def _channel_same_epoch(self, port: "server.Port") -> None:
        port.writer.initialise(port.response_region.words[shmstream.EPOCH])

    def _channel_inactive(self, port: "server.Port") -> None:
        port.writer.deactivate()
        self.inactive_for = INACTIVE_TURNS

    def _channel_backwards(self, port: "server.Port") -> None:
        port.writer.written = max(0, port.writer.written - self.random.randint(1, 50))
        port.response_region.words[shmstream.WC] = port.writer.written

    def _channel_ahead(self, port: "server.Port") -> None:
        port.writer.written += self.random.choice([1, 50, 1000])
        port.response_region.words[shmstream.WC] = port.writer.written

    def _channel_huge(self, port: "server.Port") -> None:
        port.writer.written = 2 ** 64 - self.random.randint(1, 3)
        port.response_region.words[shmstream.WSC] = port.writer.written
        port.response_region.words[shmstream.WC] = port.writer.written
        port.writer.written = 0

    def _channel_overrun(self, port: "server.Port") -> None:
        # All at once: a reader that is fast enough would keep up with one ring after the other.
        port.writer.written += 2 * port.writer.elements + 1
        port.response_region.words[shmstream.WSC] = port.writer.written
        port.response_region.words[shmstream.WC] = port.writer.written

    def _channel_header(self, port: "server.Port") -> None:
        for index in range(8):
            port.response_region.words[index] = self.random.randrange(2 ** 64)
        if self.random.random() < 0.5:
            port.begin()

    def _channel_resize(self, port: "server.Port") -> None:
        for word in (shmstream.SIZE, shmstream.ELEMENTS, shmstream.PROTOCOL):
            port.response_region.words[word] = self.random.choice([0, 1, 2 ** 63, self.random.randrange(2 ** 64)])

    def _channel_hints(self, port: "server.Port") -> None:
        port.response_region.words[shmstream.RESERVED] = self.random.randrange(1, 2 ** 64)

    def _channel_buffer(self, port: "server.Port") -> None:
        start = self.random.randrange(len(port.buffer) - 4096)
        port.buffer[start:start + 4096] = os.urandom(4096)

    def _channel_garbage(self, port: "server.Port") -> None:
        port.response_region.bytes[:] = os.urandom(port.response_region.size)
        if self.random.random() < 0.5:
            port.begin()

    def _channel_shrink(self, port: "server.Port") -> None:
        for device in port.devices:
            device.blocks //= 2
        port.begin()

    def _channel_grow(self, port: "server.Port") -> None:
        for device in port.devices:
            device.blocks *= 2
        port.begin()

    def _channel_block_length(self, port: "server.Port") -> None:
        for device in port.devices:
            device.block_length *= 8
            device.blocks //= 8
        port.begin()

    def _channel_no_devices(self, port: "server.Port") -> None:
        port.devices.clear()
        port.queues.clear()
        port.begin()
