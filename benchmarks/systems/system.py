"""What the benchmark asks of each system."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from systems.runs import Answer, Run

BULK_RUNS = 100
"""Runs a message in bulk, where a message can be of several."""


class Shape(enum.Enum):
    """How runs come: as they end, or all that waited."""

    ONE_RUN = "one run/message"
    BULK = "bulk"


class Running(Protocol):
    """A system that is served, empty at first."""

    pids: Sequence[int]

    def prepare(self, histories: Sequence[Sequence[Run]], shape: Shape) -> None:
        """Build every message, and connect a client a machine: neither is measured."""

    def ingest(self) -> None:
        """Send them; return when all is kept. Raises NotMeasuredError."""

    def settle(self) -> None:
        """Wait for what the system does by itself afterwards."""

    def ask(self, since: dt.datetime) -> Answer:
        """The median of decoding by chip and version of torch, in the system's own language."""

    def stored_bytes(self) -> int:
        """On disk. Asked last: it may end the server."""


class System(Protocol):
    """Not served yet."""

    name: str
    durability: str
    """What holds when it says that a message is kept, and by which setting."""
    shapes: Sequence[Shape]

    def version(self) -> str:
        """Raises NotInstalledError."""

    def serve(self, folder: Path) -> AbstractContextManager[Running]:
        """On loopback, with everything in `folder`. Raises NotMeasuredError."""


def batches(history: Sequence[Run], shape: Shape) -> list[Sequence[Run]]:
    """A history in the messages that it is sent in."""
    size = 1 if shape is Shape.ONE_RUN else BULK_RUNS
    return [history[start : start + size] for start in range(0, len(history), size)]
