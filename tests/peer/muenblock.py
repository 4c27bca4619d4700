"""Messages, kinds, statuses, errors and connection strings of muenblock 2.0 (docs/wire-format.md).

Written from the specification alone, without a look at the programs' code.
"""

import enum
import struct
from typing import Dict, List, NamedTuple

REQUEST_BYTES = 32
RESPONSE_BYTES = 16
REQUEST_REGION_BYTES = 0x8000
RESPONSE_REGION_BYTES = 0x4000
BUFFER_REGION_BYTES = 0x100_0000
SMART_BYTES = 512
SECTOR_BYTES = 512

LINUX_PROTOCOLS = (0x9570208DCA77DB19, 0x9851BE3282FEF0DC)
ADA_PROTOCOLS = (0x5155684453516F3D, 0x5155684453516F3D)

_REQUEST = struct.Struct("<HHIQQQ")
_RESPONSE = struct.Struct("<HHIQ")
assert _REQUEST.size == REQUEST_BYTES and _RESPONSE.size == RESPONSE_BYTES


class Kind(enum.IntEnum):
    NONE = 0x00
    READ = 0x01
    WRITE = 0x02
    DISCARD = 0x03
    SYNC = 0x04
    GET_SMART = 0x05
    MEDIA_BLOCKS = 0x10
    BLOCK_LENGTH = 0x11
    MAX_REQUESTS = 0x19
    MAX_BLOCKS_COUNT = 0x1A
    MAX_DEVICES = 0x1B
    RESET = 0x1F


TRANSFERS = (Kind.READ, Kind.WRITE, Kind.DISCARD)
# Kinds whose answer is a status: 1 for a device that does not exist. That of the others is a value: 0.
WITH_STATUS = TRANSFERS + (Kind.NONE, Kind.SYNC, Kind.RESET)


class Status(enum.IntEnum):
    OK = 0
    NOTSUPP = 1
    TIMEOUT = 2
    NOSPC = 3
    TRANSPORT = 4
    TARGET = 5
    RESV_CONFLICT = 6
    MEDIUM = 7
    PROTECTION = 8
    RESOURCE = 9
    IOERR = 10


class Smart(enum.IntEnum):
    FAILURE = 0
    OK = 1
    THRESHOLD_EXCEEDED = 2
    UNDEFINED = 3


class Request(NamedTuple):
    kind: int
    device: int = 0
    tag: int = 0
    length: int = 0         # bytes
    device_offset: int = 0  # bytes or sectors: the connection's choice
    buffer_offset: int = 0  # bytes

    def pack(self) -> bytes:
        return _REQUEST.pack(*self)

    @classmethod
    def unpack(cls, packet: bytes) -> "Request":
        return cls(*_REQUEST.unpack(packet))


class Response(NamedTuple):
    kind: int
    device: int
    tag: int
    status: int

    def pack(self) -> bytes:
        return _RESPONSE.pack(*self)

    @classmethod
    def unpack(cls, packet: bytes) -> "Response":
        return cls(*_RESPONSE.unpack(packet))


def answer(request: Request, status: int) -> Response:
    """The response to a request, whose first three fields are the request's."""
    return Response(request.kind, request.device, request.tag, status)


class Connection(NamedTuple):
    """One connection: the names of its regions and what its channels are expected to carry."""

    id: int
    request: str
    response: str
    buffer: str
    request_protocol: int = LINUX_PROTOCOLS[0]
    response_protocol: int = LINUX_PROTOCOLS[1]

    def __str__(self) -> str:
        return (f"{self.id}:{self.request}:{self.response}:{self.buffer}"
                f":{self.request_protocol:x}:{self.response_protocol:x}")


def parse_connections(text: str) -> List[Connection]:
    """Connections, separated by commas. A ValueError says which is wrong."""
    connections = []
    for part in text.split(","):
        fields = part.split(":")
        if len(fields) not in (4, 6) or not all(fields):
            raise ValueError(f"'{part}' is not id:request:response:buffer[:request_protocol:response_protocol]")
        protocols = [int(field, 16) for field in fields[4:]]
        if not all(0 < protocol < 2 ** 64 for protocol in protocols):
            raise ValueError(f"'{part}': a protocol is a hexadecimal number of 64 bits, and not 0")
        connections.append(Connection(int(fields[0]), *fields[1:4], *protocols))
    if len({connection.id for connection in connections}) != len(connections):
        raise ValueError(f"'{text}' has two connections with one id")
    return connections


def parse_devices(text: str) -> Dict[int, List[str]]:
    """Devices, separated by commas: connection id -> paths, whose positions are their device ids."""
    devices: Dict[int, List[str]] = {}
    for part in text.split(","):
        path, colon, connection = part.rpartition(":")
        if not colon or not path:
            raise ValueError(f"'{part}' is not device:connection_id")
        devices.setdefault(int(connection), []).append(path)
    return devices


class PeerError(Exception):
    """The server did something that the protocol forbids, or nothing at all."""


class SessionLost(Exception):
    """The server's channel ended or began anew: what was in flight will not be answered."""


class RequestFailed(Exception):
    """An answer with a status other than 0."""

    def __init__(self, request: Request, status: int):
        super().__init__(f"{Kind(request.kind).name} of {request.length} bytes at {request.device_offset} "
                         f"was answered with {status}")
        self.status = status
