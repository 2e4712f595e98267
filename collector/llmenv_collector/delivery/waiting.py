"""What is asked of the store's writer and waits for its turn: deliveries, sightings and requests.

One lock; the writer takes a whole group at once, so while one commits, the next gathers.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from llmenv_collector.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    import duckdb

    from llmenv_collector.delivery.ingest import Arrival
    from llmenv_collector.delivery.sieve import Rejection
    from llmenv_collector.delivery.sighting import Sighting

MAX_GROUP_RECORDS = 8_192
MAX_GROUP_BYTES = 64 << 20


@dataclass(frozen=True)
class Delivered:
    """What became of one delivery."""

    watermark: int
    rejections: tuple[Rejection, ...]
    jump: str
    """One sentence when the sequences do not follow the watermark; else empty."""


@dataclass(frozen=True)
class Delivery:
    arrivals: Sequence[Arrival]
    done: Future[Delivered]
    since: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Seen:
    sightings: Sequence[Sighting]
    done: Future[None]
    since: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Request:
    """Something for the writer to do on its own, between two groups."""

    act: Callable[[duckdb.DuckDBPyConnection], Any]
    done: Future[Any]
    is_change: bool = True
    since: float = field(default_factory=time.monotonic)


Question: TypeAlias = "Callable[[duckdb.DuckDBPyConnection, Sequence[str]], Mapping[str, Any]]"
"""What many ask at the same time, each for a key of its own: answered for all of them in one go."""


@dataclass(frozen=True)
class Asked:
    """One key of a question, answered after everything that was delivered before it."""

    question: Question
    key: str
    done: Future[Any]
    is_change: bool = True
    since: float = field(default_factory=time.monotonic)


Item = Delivery | Seen | Asked | Request


class Waiting:
    """Put from any thread, taken by one."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._is_closed = False

    def put(self, item: Item) -> None:
        """Raises StoreError when nothing is taken any more."""
        with self._changed:
            if self._is_closed:
                raise StoreError("The store is closed.")
            self._items.append(item)
            self._changed.notify()

    def take(self, seconds: float | None = None) -> list[Item] | None:
        """What waits, or nothing when nothing comes for so long; None when it is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._is_closed, seconds)
            if not self._items and self._is_closed:
                return None
            return take_group(self._items)

    def close(self) -> list[Item]:
        """Nothing more can be put; what still waits."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
            return list(self._items)

    def oldest_seconds(self) -> float:
        """How long the next one has waited; 0 when there is none."""
        with self._changed:
            return time.monotonic() - self._items[0].since if self._items else 0.0


def take_group(waiting: deque[Item]) -> list[Item]:
    """Takes off either one request or as many deliveries, sightings and questions as a group may hold."""
    group: list[Item] = []
    records = size = 0
    while waiting and records < MAX_GROUP_RECORDS and size < MAX_GROUP_BYTES:
        if group and (isinstance(waiting[0], Request) or isinstance(group[0], Request)):
            break
        item = waiting.popleft()
        group.append(item)
        if isinstance(item, Delivery):
            records += len(item.arrivals)
            size += sum(len(arrival.record) for arrival in item.arrivals)
    return group
