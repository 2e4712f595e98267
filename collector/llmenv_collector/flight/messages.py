"""Messages of Arrow as Flight carries them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv.arrow_flight import flight_service_pb2 as flight

from llmenv_collector.sql.arrow_frames import END_OF_STREAM, PREFIX_BYTES, flight_data

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CONTINUATION = END_OF_STREAM[:4]


def of_table(table: Any) -> Iterator[bytes]:
    """The schema, then the rows, each an encoded FlightData."""
    for message in (table.schema, *table.to_batches()):
        yield b"".join(flight_data(memoryview(message.serialize())))


def schema_of(message: bytes) -> bytes:
    """Of an encoded FlightData that holds a schema: the message of Arrow IPC."""
    return encapsulated(flight.FlightData.FromString(message).data_header)


def stream_of(messages: Iterable[flight.FlightData]) -> bytes:
    """As an Arrow IPC stream, unread."""
    content = [encapsulated(message.data_header) + message.data_body for message in messages]
    return b"".join(content) + END_OF_STREAM


def encapsulated(header: bytes) -> bytes:
    """With its prefix, and padded as Arrow wants it."""
    padded = header + bytes(-len(header) % PREFIX_BYTES)
    return CONTINUATION + len(padded).to_bytes(4, "little") + padded
