"""The answer of a worker: frames on a pipe, each a kind, a length and that many bytes.

The worker writes a message of Arrow as whoever asked will get it, so that the collector passes bytes on
without looking at them: as a piece of an Arrow IPC stream, or as a FlightData of Arrow Flight, whose
protobuf encoding is a few bytes before the same buffers.
"""

from __future__ import annotations

import struct
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

HEADER = struct.Struct("<BI")
PREFIX_BYTES = 8
"""Of an encapsulated message of Arrow IPC: four bytes of ones, and the length of its metadata."""
END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
MAX_FRAME_BYTES = 3 << 20
"""Below what one message of gRPC may have."""
WANTED_BATCH_BYTES = 1 << 20
MEMORY_EXIT = 3
"""The exit code of a worker that took too much memory and so could not say so."""
# Field number and wire type 2 (bytes) of FlightData in flight_service.proto, as protobuf encodes them.
DATA_HEADER, APP_METADATA, DATA_BODY = b"\x12", b"\x1a", b"\xc2\x3e"


class Kind(IntEnum):
    """What a frame holds."""

    SCHEMA = 1
    BATCH = 2
    END = 3
    """JSON: how it ended."""


class Form(StrEnum):
    """How messages of Arrow are wrapped."""

    STREAM = "stream"
    FLIGHT = "flight"


class FrameWriter:
    """Of one answer."""

    def __init__(self, target: BinaryIO, form: Form) -> None:
        self._target = target
        self._form = form

    def write(self, kind: Kind, message: Any) -> None:
        """A message of Arrow: a buffer that holds its prefix, its metadata and its body."""
        view = memoryview(message)
        self.write_parts(kind, [view] if self._form is Form.STREAM else list(flight_data(view)))

    def write_parts(self, kind: Kind, parts: list[Any]) -> None:
        self._target.write(HEADER.pack(kind, sum(len(part) for part in parts)))
        for part in parts:
            self._target.write(part)
        self._target.flush()


def flight_data(message: memoryview, *, app_metadata: bytes = b"") -> Iterator[Any]:
    """The protobuf encoding of a FlightData, in pieces."""
    metadata_bytes = int.from_bytes(message[4:PREFIX_BYTES], "little")
    header, body = message[PREFIX_BYTES:][:metadata_bytes], message[PREFIX_BYTES + metadata_bytes :]
    for tag, content in ((DATA_HEADER, header), (APP_METADATA, app_metadata), (DATA_BODY, body)):
        if content:
            yield tag + varint(len(content))
            yield content


def varint(number: int) -> bytes:
    """As protobuf encodes a length."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def plain_schema(schema: Any) -> Any:
    """Without dictionaries, which travel as messages of their own: values stand in their place."""
    import pyarrow as pa

    return pa.schema([field.with_type(plain(field.type)) for field in schema])


def plain(kind: Any) -> Any:
    """A type of Arrow."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(plain(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(plain(kind.key_type), plain(kind.item_type))
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(plain(kind.value_type)))
    return kind
