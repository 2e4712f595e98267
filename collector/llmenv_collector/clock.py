"""Time as the collector keeps it: microseconds since 1970, UTC, as an integer."""

from __future__ import annotations

import datetime as dt
import time

from google.protobuf.timestamp_pb2 import Timestamp

MICROSECONDS = 1_000_000


def now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1_000


def to_timestamp(microseconds: int | None) -> Timestamp | None:
    """None stays None, so that an absent field stays absent."""
    if microseconds is None:
        return None
    seconds, rest = divmod(microseconds, MICROSECONDS)
    return Timestamp(seconds=seconds, nanos=rest * 1_000)


def from_timestamp(timestamp: Timestamp) -> int:
    """Nanoseconds below a microsecond are cut."""
    return timestamp.seconds * MICROSECONDS + timestamp.nanos // 1_000


def day_of(microseconds: int) -> dt.date:
    """The day in UTC."""
    return dt.datetime.fromtimestamp(microseconds // MICROSECONDS, dt.UTC).date()
