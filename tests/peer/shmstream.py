"""SHMStream version 2 (docs/wire-format.md, "Channel"): channels of fixed-size packets in shared memory.

Written from the specification alone, without a look at the programs' code.

A writer and a reader for one side of a channel each, and the mapping of a region. It knows nothing of blocks.

Ordering. The header's fields are read and written as items of a memoryview of format 'Q': CPython copies such an item
by an 8-byte memcpy, which is one load or store. (struct.pack_into is not used for them: it zeroes its target first, so
that a reader on another CPU could see a counter of 0.) On x86-64 loads stay in the order of loads and stores in that
of stores, and CPython keeps the program's order, so the fences of the writer's and the reader's steps are nothing here but
comments, except between a store and a later load: see full_fence.
"""

import enum
import mmap
import os
import platform
import secrets
import stat
import sys
import threading
from typing import List, NamedTuple, Optional, Tuple

MARKER = 0x487312B6B79A9B6D
HEADER_BYTES = 64
PAGE_BYTES = 4096

# Indices into the header as eight 64-bit words.
TRANSPORT, EPOCH, PROTOCOL, SIZE, ELEMENTS, RESERVED, WSC, WC = range(8)

if sys.byteorder != "little" or platform.machine() != "x86_64":
    raise ImportError("shmstream.py relies on the byte order and the memory ordering of x86-64")


class Result(enum.Enum):
    """What a read came to: see the reader's steps."""

    INACTIVE = "inactive"
    INCOMPATIBLE = "incompatible"
    EPOCH_CHANGED = "epoch changed"
    NO_DATA = "no data"
    OVERRUN = "overrun"
    SUCCESS = "success"


_fence_lock = threading.Lock()


def full_fence() -> None:
    """Keeps later loads after earlier stores: taking a lock is an atomic read-modify-write, a full fence on x86-64."""
    with _fence_lock:
        pass


class Region:
    """A mapped region: its bytes, and the header as words. Close it when no writer or reader uses it any more."""

    def __init__(self, path: str, writable: bool):
        descriptor = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            self.path = path
            self.size = os.fstat(descriptor).st_size
            protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
            self._map: Optional[mmap.mmap] = mmap.mmap(descriptor, self.size, mmap.MAP_SHARED, protection)
        finally:
            os.close(descriptor)
        self._attach(memoryview(self._map))

    @classmethod
    def of_bytes(cls, content: bytearray) -> "Region":
        """A region in private memory, for tests."""
        region = cls.__new__(cls)
        region.path, region.size, region._map = "memory", len(content), None
        region._attach(memoryview(content))
        return region

    def _attach(self, view: memoryview) -> None:
        self.bytes = view
        self.words = view[:HEADER_BYTES].cast("Q") if self.size >= HEADER_BYTES else None

    def close(self) -> None:
        if self.words is not None:
            self.words.release()
        self.bytes.release()
        if self._map is not None:
            self._map.close()


def create_region(path: str, size: int) -> None:
    """Makes a region of zeroes unless one of this size is there."""
    if size % PAGE_BYTES:
        raise ValueError(f"a region's size is a multiple of {PAGE_BYTES}, not {size}")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size not in (0, size):
            raise FileExistsError(f"{path} is there with {found.st_size} bytes instead of {size}")
        os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)


def capacity(region_size: int, packet_size: int) -> int:
    """How many packets a region of this size holds."""
    return max(0, region_size - HEADER_BYTES) // packet_size


class Geometry(NamedTuple):
    """What a channel is expected to be; elements is None for as many as fit into the region."""

    protocol: int
    size: int
    elements: Optional[int] = None


class Writer:
    """The writing end. It never waits and never reads anything that the other end wrote."""

    def __init__(self, region: Region, geometry: Geometry):
        self.region = region
        self.protocol = geometry.protocol
        self.size = geometry.size
        self.elements = geometry.elements or capacity(region.size, geometry.size)
        if not 0 < self.elements <= capacity(region.size, geometry.size):
            raise ValueError(f"{self.elements} packets of {self.size} bytes do not fit into {region.size} bytes")
        self.written = 0

    def initialise(self, epoch: Optional[int] = None, clear: bool = True) -> int:
        """Starts anew under the given epoch, or under a random one, and returns it."""
        words = self.region.words
        words[EPOCH] = 0
        if clear:
            self.region.bytes[HEADER_BYTES:] = bytes(self.region.size - HEADER_BYTES)
        for index, value in ((TRANSPORT, MARKER), (PROTOCOL, self.protocol), (SIZE, self.size),
                             (ELEMENTS, self.elements), (RESERVED, 0), (WSC, 0), (WC, 0)):
            words[index] = value
        self.written = 0
        if epoch is None:
            epoch = secrets.randbits(64) or 1
        words[EPOCH] = epoch
        return epoch

    def write(self, *packets: bytes) -> None:
        """Writes packets as one batch, which may not be larger than the ring."""
        if len(packets) > self.elements:
            raise ValueError(f"a batch of {len(packets)} packets in a ring of {self.elements}")
        first = self.written
        self.region.words[WSC] = first + len(packets)
        # Stores are not reordered with stores: a reader that sees any of these bytes sees wsc, too.
        for number, packet in enumerate(packets, first):
            at = HEADER_BYTES + number % self.elements * self.size
            self.region.bytes[at:at + self.size] = packet
        # And one that sees wc sees all of these bytes.
        self.written = first + len(packets)
        self.region.words[WC] = self.written

    def deactivate(self) -> None:
        self.region.words[EPOCH] = 0


class ReaderHabits(NamedTuple):
    """How peers differ."""

    first_read_again: bool = True       # the call that synchronises says so and returns no packet
    product_only: bool = False          # checks size * elements instead of both
    backwards_is_new: bool = True       # wc < rc under one epoch is a new session, not "no data"


LINUX = ReaderHabits()
ADA = ReaderHabits(first_read_again=False, product_only=True, backwards_is_new=False)


class Reader:
    """The reading end. The region may be mapped read-only, and whoever writes to it may be hostile."""

    def __init__(self, region: Region, expected: Geometry, habits: ReaderHabits = LINUX):
        self.region = region
        self.expected = expected
        self.habits = habits
        fitting = capacity(region.size, expected.size)
        self.slots = fitting if expected.elements is None else expected.elements
        if not 0 < self.slots <= fitting:
            raise ValueError(f"{self.slots} packets of {expected.size} bytes do not fit into {region.size} bytes")
        self.epoch = 0      # 0 while not synchronised
        self.elements = 0   # as the header said when we synchronised
        self.read_count = 0

    def _synchronise(self) -> Result:
        words = self.region.words
        self.epoch = 0
        epoch = words[EPOCH]
        transport, protocol, size, elements = words[TRANSPORT], words[PROTOCOL], words[SIZE], words[ELEMENTS]
        if epoch == 0:
            return Result.INACTIVE
        if self.habits.product_only:
            fits = size * elements % 2 ** 64 == self.expected.size * self.slots
        else:
            fits = size == self.expected.size and elements == self.slots
        if transport != MARKER or protocol != self.expected.protocol or not fits:
            return Result.INCOMPATIBLE
        self.read_count = 0
        if words[EPOCH] != epoch:
            return Result.EPOCH_CHANGED
        self.epoch = epoch
        self.elements = elements
        return Result.EPOCH_CHANGED if self.habits.first_read_again else Result.SUCCESS

    def read_batch(self, limit: int) -> Tuple[Result, List[bytes]]:
        """Up to limit packets, which are there only with SUCCESS."""
        words = self.region.words
        epoch = words[EPOCH]
        if epoch == 0:
            self.epoch = 0
            return Result.INACTIVE, []
        if epoch != self.epoch:
            result = self._synchronise()
            if result is not Result.SUCCESS:
                return result, []
        written = words[WC]
        if written < self.read_count and self.habits.backwards_is_new:
            self.read_count = 0
            return Result.EPOCH_CHANGED, []
        available = min(written - self.read_count, limit, self.slots)
        if available <= 0:
            return Result.NO_DATA, []
        packets = [self._copy(self.read_count + index) for index in range(available)]
        # The copies are loads, as is that of wsc: in this order. What has been overwritten meanwhile was announced.
        if words[WSC] > self.read_count + self.elements:
            self.read_count = words[WC]
            return self._unless_changed(Result.OVERRUN, [])
        self.read_count += available
        return self._unless_changed(Result.SUCCESS, packets)

    def _copy(self, number: int) -> bytes:
        at = HEADER_BYTES + number % self.slots * self.expected.size
        return bytes(self.region.bytes[at:at + self.expected.size])

    def _unless_changed(self, result: Result, packets: List[bytes]) -> Tuple[Result, List[bytes]]:
        if self.region.words[EPOCH] == self.epoch:
            return result, packets
        self.epoch = 0      # even if the next call finds the old epoch again
        return Result.EPOCH_CHANGED, []

    def read(self) -> Tuple[Result, Optional[bytes]]:
        """One packet, which is there only with SUCCESS."""
        result, packets = self.read_batch(1)
        return result, packets[0] if packets else None

    def drain(self) -> None:
        """Passes over all that has been written. One that is not synchronised yet becomes so if it can."""
        if self.region.words[EPOCH] != self.epoch:
            self._synchronise()
        self.read_count = self.region.words[WC]

    def drain_as_ada(self) -> None:
        """Passes over nothing unless it is synchronised: synchronising later begins with the first packet."""
        self.read_count = self.region.words[WC]
