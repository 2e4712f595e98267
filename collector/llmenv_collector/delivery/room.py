"""Room for records between a stream and the store: bounded in bytes and records, and fair between machines.

What finds no room waits, and its stream is not read from, so that gRPC holds the
sender back.  Room that becomes free goes to the machines in turn, one delivery
each, and no machine may fill more than its share: a machine with a huge backlog
takes what the others leave.  What machines record just now is little at a time, and
passes the backlogs, for which a further share of room is kept.  Whoever waits longer
than PATIENCE_SECONDS is sent away with NoRoomError, to come again later.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_collector.errors import NoRoomError

if TYPE_CHECKING:
    from collections.abc import Mapping

PATIENCE_SECONDS = 20.0
SHARE = 8
"""A machine may fill one part in so many."""


@dataclass(frozen=True)
class Size:
    records: int = 0
    size: int = 0
    """Bytes."""

    def plus(self, other: Size) -> Size:
        return Size(self.records + other.records, self.size + other.size)

    def minus(self, other: Size) -> Size:
        return Size(self.records - other.records, self.size - other.size)

    def within(self, bound: Size) -> bool:
        return self.records <= bound.records and self.size <= bound.size


NOTHING = Size()
BOUND = Size(records=65_536, size=64 << 20)
LIVE = Size(records=64, size=256 << 10)
"""A delivery of at most so much is of what happens now: a backlog comes in larger ones."""


@dataclass(frozen=True)
class Turn:
    """A delivery that waits for room."""

    wanted: Size
    admitted: asyncio.Future[None]


Line = OrderedDict[str, deque[Turn]]
"""Who waits, next machine first."""


class Room:
    """Lives in the event loop."""

    def __init__(
        self, bound: Size = BOUND, *, live: Size = LIVE, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self._bound = bound
        self._live = live
        self._share = Size(max(1, bound.records // SHARE), max(1, bound.size // SHARE))
        self._patience_seconds = patience_seconds
        self._filled = NOTHING
        self._by_machine: dict[str, Size] = {}
        self._line: Line = OrderedDict()
        self._live_line: Line = OrderedDict()

    @property
    def filled(self) -> Size:
        return self._filled

    @property
    def by_machine(self) -> Mapping[str, Size]:
        """Of those that have something in it."""
        return self._by_machine

    @property
    def waiting(self) -> int:
        """Deliveries that wait for room, a count."""
        return sum(len(turns) for line in (self._live_line, self._line) for turns in line.values())

    async def enter(self, machine_id: str, wanted: Size) -> None:
        """Returns when there is room, which is taken until leave().  Raises NoRoomError."""
        turn = Turn(wanted, asyncio.get_running_loop().create_future())
        self._line_of(wanted).setdefault(machine_id, deque()).append(turn)
        self._admit()
        try:
            async with asyncio.timeout(self._patience_seconds):
                # Shielded: a cancelled delivery may be let in before it has heard of its end.
                await asyncio.shield(turn.admitted)
        except TimeoutError:
            self._give_up(machine_id, turn)
            raise NoRoomError("The collector has more to store than it can: come again later.") from None
        except asyncio.CancelledError:
            self._give_up(machine_id, turn)
            raise

    def leave(self, machine_id: str, taken: Size) -> None:
        self._filled = self._filled.minus(taken)
        left = self._by_machine[machine_id].minus(taken)
        if left == NOTHING:
            del self._by_machine[machine_id]
        else:
            self._by_machine[machine_id] = left
        self._admit()

    def _line_of(self, wanted: Size) -> Line:
        return self._live_line if wanted.within(self._live) else self._line

    def _admit(self) -> None:
        self._admit_from(self._live_line, self._bound.plus(self._share))
        self._admit_from(self._line, self._bound)

    def _admit_from(self, line: Line, bound: Size) -> None:
        while (machine_id := self._next(line, bound)) is not None:
            turn = line[machine_id].popleft()
            self._filled = self._filled.plus(turn.wanted)
            self._by_machine[machine_id] = self._by_machine.get(machine_id, NOTHING).plus(turn.wanted)
            turn.admitted.set_result(None)
            if line[machine_id]:
                line.move_to_end(machine_id)
            else:
                del line[machine_id]

    def _next(self, line: Line, bound: Size) -> str | None:
        """The first machine below its share, when there is room for what it brings.

        In one line a large delivery is not passed by smaller ones: else it would wait for ever.
        """
        for machine_id, turns in line.items():
            if fits(turns[0].wanted, self._by_machine.get(machine_id, NOTHING), self._share):
                return machine_id if fits(turns[0].wanted, self._filled, bound) else None
        return None

    def _give_up(self, machine_id: str, turn: Turn) -> None:
        if turn.admitted.done():
            self.leave(machine_id, turn.wanted)  # let in at the moment in which it was taken away
            return
        line = self._line_of(turn.wanted)
        line[machine_id].remove(turn)
        if not line[machine_id]:
            del line[machine_id]
        self._admit()


def fits(wanted: Size, filled: Size, bound: Size) -> bool:
    """What is larger than the whole goes in alone."""
    return filled == NOTHING or filled.plus(wanted).within(bound)
