"""The wake hint (docs/wire-format.md, "Our extensions"): an end announces its sleep in the header's reserved field.

The kind and the bits by which ends agree on it are in docs/wire-format.md: Features, 0x21.
"""

import ctypes
import mmap
import os
from typing import Optional

import shmstream
from shmstream import EPOCH, RESERVED, WC, Reader, Region

FEATURES = 0x21
FEATURE_AGREES = 1
FEATURE_WAKES_BY_FUTEX = 2

_SYS_FUTEX = 202        # x86-64
_FUTEX_WAIT, _FUTEX_WAKE = 0, 1     # shared between processes, since without FUTEX_PRIVATE_FLAG
_ALL = 2 ** 31 - 1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.syscall.restype = ctypes.c_long


class _Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class Futex:
    """The low half of a channel's wc as a futex. It has a mapping of its own, whose address is known."""

    def __init__(self, region: Region, writable: bool):
        descriptor = os.open(region.path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        try:
            protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
            self._base = _libc.mmap(None, shmstream.PAGE_BYTES, protection, mmap.MAP_SHARED, descriptor, 0)
        finally:
            os.close(descriptor)
        if self._base in (None, ctypes.c_void_p(-1).value):
            raise OSError(ctypes.get_errno(), f"{region.path} cannot be mapped")
        self._address = self._base + WC * 8

    def close(self) -> None:
        _libc.munmap(self._base, shmstream.PAGE_BYTES)

    def wait(self, value: int, seconds: float) -> bool:
        """Sleeps while the low half of wc is value; False if the time was over."""
        timeout = _Timespec(int(seconds), int(seconds % 1 * 1e9))
        result = _libc.syscall(_SYS_FUTEX, ctypes.c_void_p(self._address), ctypes.c_long(_FUTEX_WAIT),
                               ctypes.c_long(value % 2 ** 32), ctypes.byref(timeout), None, 0)
        return result == 0 or ctypes.get_errno() != 110     # ETIMEDOUT

    def wake(self) -> int:
        """Wakes all who wait, and returns how many they were."""
        return _libc.syscall(_SYS_FUTEX, ctypes.c_void_p(self._address), ctypes.c_long(_FUTEX_WAKE),
                             ctypes.c_long(_ALL), None, None, 0)


class Bell:
    """Both directions of one end: it announces its own sleeps and wakes the peer from announced ones."""

    def __init__(self, outgoing: Region, incoming: Region, reader: Reader):
        self.outgoing, self.incoming, self.reader = outgoing, incoming, reader
        self._mine, self._theirs = Futex(outgoing, writable=True), Futex(incoming, writable=False)
        self._sequence = 0
        self._woken_for: Optional[int] = None
        self.sleeps = self.wakes = self.timeouts = 0

    def close(self) -> None:
        self._mine.close()
        self._theirs.close()

    def sleep(self, seconds: float) -> None:
        """Waits for packets in the incoming channel, or for its end, as long as there are none."""
        self._sequence = self._sequence % (2 ** 64 - 1) + 1
        self.outgoing.words[RESERVED] = self._sequence
        # The peer stores wc, then reads the hint; we store the hint, then read wc: one of us sees the other's store.
        shmstream.full_fence()
        if self.incoming.words[WC] == self.reader.read_count and self.incoming.words[EPOCH] == self.reader.epoch:
            self.sleeps += 1
            self.timeouts += not self._theirs.wait(self.reader.read_count, seconds)
        self.outgoing.words[RESERVED] = 0

    def ring(self, began_anew: bool = False) -> None:
        """What follows a store of wc, and an initialisation."""
        shmstream.full_fence()
        hint = self.incoming.words[RESERVED]
        if began_anew or hint not in (0, self._woken_for):
            self._woken_for = hint
            self.wakes += 1
            self._mine.wake()
