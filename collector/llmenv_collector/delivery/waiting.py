"""What is asked of the store's writer and waits for its turn: deliveries, sightings and requests.

One lock; the writer takes a whole group at once, so while one commits, the next gathers.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from llmenv_collector.delivery.room import LIVE
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

    @property
    def about(self) -> tuple[str, ...]:
        """Ids of its machine and its spool."""
        return (self.arrivals[0].machine_id, self.arrivals[0].spool_id) if self.arrivals else ()


@dataclass(frozen=True)
class Seen:
    sightings: Sequence[Sighting]
    done: Future[None]
    since: float = field(default_factory=time.monotonic)

    @property
    def about(self) -> tuple[str, ...]:
        return tuple(one.machine_id for one in self.sightings)


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
    """One key of a question, a machine's or a spool's, answered after everything that it delivered before."""

    question: Question
    key: str
    done: Future[Any]
    is_change: bool = True
    since: float = field(default_factory=time.monotonic)

    @property
    def about(self) -> tuple[str, ...]:
        return (self.key,)


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
    group: list[Item] = take_live(waiting)
    records = sum(len(item.arrivals) for item in group if isinstance(item, Delivery))
    size = 0
    while waiting and records < MAX_GROUP_RECORDS and size < MAX_GROUP_BYTES:
        if group and (isinstance(waiting[0], Request) or isinstance(group[0], Request)):
            break
        item = waiting.popleft()
        group.append(item)
        if isinstance(item, Delivery):
            records += len(item.arrivals)
            size += bytes_of(item)
    return group


def take_live(waiting: deque[Item]) -> list[Item]:
    """What happens just now, which no backlog of others delays: up to half a group, in its order.

    None passes a request, or what its own machine has delivered before.
    """
    live: list[Item] = []
    others: list[Item] = []
    behind: set[str] = set()
    records, items = 0, iter(waiting)
    for item in items:
        if isinstance(item, Request) or records >= MAX_GROUP_RECORDS // 2:
            others.append(item)
            break
        if is_live(item) and behind.isdisjoint(item.about):
            live.append(item)
            records += len(item.arrivals) if isinstance(item, Delivery) else 0
        else:
            others.append(item)
            behind.update(item.about)
    if live:
        others.extend(items)
        waiting.clear()
        waiting.extend(others)
    return live


def is_live(item: Item) -> bool:
    """A machine that connects asks, and is seen: that is never more than a row."""
    if not isinstance(item, Delivery):
        return True
    return len(item.arrivals) <= LIVE.records and bytes_of(item) <= LIVE.size


def bytes_of(delivery: Delivery) -> int:
    return sum(len(arrival.record) for arrival in delivery.arrivals)
