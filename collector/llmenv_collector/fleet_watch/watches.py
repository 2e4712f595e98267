"""The fleet as it is, for somebody who looks on: all of it at first, then what has become otherwise.

Every response is made from one state of the store, compared with what the caller was told before, so a caller
who reads slowly gets fewer and larger steps and nothing piles up.  What is kept for a caller is the state of
each machine and a position in each spool, whatever streams through.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1 import fleet_watch_pb2 as messages

from llmenv_collector import clock
from llmenv_collector.errors import NoRoomError, StoreError, UnauthenticatedError, UsageError
from llmenv_collector.fleet_watch import watched_fleet
from llmenv_collector.fleet_watch.watched_fleet import FAILING, NEITHER, Question
from llmenv_collector.identity import tokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable

    import duckdb

    from llmenv_collector.delivery.streams import Streams
    from llmenv_collector.fleet.machine_selection import Selector
    from llmenv_collector.fleet_watch.watched_fleet import Arrived, Place
    from llmenv_collector.identity.identity_file import Identity
    from llmenv_collector.identity.tokens import Token
    from llmenv_collector.storage.store import Store

MOST_WATCHES = 32
MOST_RESULTS = 200
"""In one response; more than a person can follow, and far from what a message may hold."""
POLL_SECONDS = 0.2
SHORTEST_REST_SECONDS, LONGEST_REST_SECONDS = 1.0, 10.0
LATEST_COMMIT = 600 * clock.MICROSECONDS
"""A record is committed long before it has waited for so long."""


class FleetWatches:
    """Of one collector: so many at once."""

    def __init__(self, *, store: Store, identity: Identity, streams: Streams, selector: Selector) -> None:
        self._store = store
        self._identity = identity
        self._streams = streams
        self._selector = selector
        self._open = 0

    async def responses(
        self, request: messages.WatchFleetRequest, *, by: Token
    ) -> AsyncIterator[messages.WatchFleetResponse]:
        """Raises UsageError, NotFoundError, or NoRoomError."""
        positions = positions_of(request)
        question = await self._question(request, by=by)
        if self._open >= MOST_WATCHES:
            raise NoRoomError(f"{MOST_WATCHES} people or programs watch the fleet already: try again later.")
        watch = FleetWatch(
            self._store, self._identity, self._streams, question=question, token_id=by.token_id
        )
        self._open += 1
        try:
            async for response in watch.responses(positions):
                yield response
        finally:
            self._open -= 1

    async def _question(self, request: messages.WatchFleetRequest, *, by: Token) -> Question:
        machines: frozenset[str] | None = None
        if request.machines or request.where:
            chosen = await self._selector.select(
                fleet.MachineSelection(machines=request.machines, where=request.where), person=by.token_id
            )
            machines = frozenset(one.machine_id for one in chosen)
        checks = tuple(sorted(set(request.checks)))

        def require() -> None:
            with self._store.reader() as connection:
                watched_fleet.require_checks(connection, checks)

        await asyncio.to_thread(require)
        return Question(machines, checks)


class FleetWatch:
    """Of one caller."""

    def __init__(
        self, store: Store, identity: Identity, streams: Streams, *, question: Question, token_id: str
    ) -> None:
        self._store = store
        self._identity = identity
        self._streams = streams
        self._question = question
        self._token_id = token_id
        self._positions: dict[str, int] = {}
        self._said: dict[str, messages.WatchedMachine] = {}
        self._failing: set[Place] | None = None
        self._floor = 0

    async def responses(self, positions: dict[str, int]) -> AsyncIterator[messages.WatchFleetResponse]:
        """Until the caller leaves.  Raises StoreError when the collector stops, UnauthenticatedError when the
        token does.
        """
        self._positions = positions
        while True:
            await self._require_welcome()
            commits, connected = self._store.commits, self._streams.connected()
            looked_at = time.monotonic()
            yield await asyncio.to_thread(self._look, connected, self._streams.last_seen())
            await self._rest(commits, connected, looked_at)

    async def _require_welcome(self) -> None:
        if not await asyncio.to_thread(tokens.is_active, self._identity, self._token_id):
            raise UnauthenticatedError("The token has expired or was revoked.")

    async def _rest(self, commits: int, connected: frozenset[str], looked_at: float) -> None:
        """Until something is new, or so long that the caller has to be told that all is quiet."""
        while time.monotonic() < looked_at + LONGEST_REST_SECONDS:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._streams.draining.wait(), POLL_SECONDS)
                raise StoreError("The collector stops; watch again when it is back.")
            is_new = self._store.commits != commits or self._streams.connected() != connected
            if is_new and time.monotonic() >= looked_at + SHORTEST_REST_SECONDS:
                return

    def _look(self, connected: frozenset[str], last_seen: dict[str, int]) -> messages.WatchFleetResponse:
        now = clock.now()
        standing = self._identity.standing()
        # What is retired, or waits for approval, is not of the fleet that somebody looks on.
        revoked = standing.barred | standing.retired | standing.pending
        response = messages.WatchFleetResponse(at=clock.to_timestamp(now))
        with self._store.reader() as connection:
            reached = watched_fleet.read_positions(connection)
            if self._positions or self._failing is not None:
                self._say_results(response, connection, revoked)
            elif self._failing is None:
                self._failing = watched_fleet.read_failing(connection, self._question)
            machines = watched_fleet.read_machines(
                connection, self._question, connected=connected, last_seen=last_seen, revoked=revoked
            )
        self._say_positions(response, reached)
        self._say_machines(response, machines)
        self._floor = now - LATEST_COMMIT
        return response

    def _say_results(
        self,
        response: messages.WatchFleetResponse,
        connection: duckdb.DuckDBPyConnection,
        revoked: Collection[str],
    ) -> None:
        results, left_out = watched_fleet.read_results(
            connection,
            self._question,
            positions=self._positions,
            floor=self._floor,
            revoked=revoked,
            most=MOST_RESULTS,
        )
        if self._failing is None or left_out:
            # As it was before the results that are said; of those left out nobody is told how they turned.
            shown = [one.record_id for one in results]
            self._failing = watched_fleet.read_failing(connection, self._question, without=shown)
        response.results.extend(turned(results, self._failing))
        response.left_out_results = left_out

    def _say_positions(self, response: messages.WatchFleetResponse, reached: dict[str, int]) -> None:
        moved = {spool: at for spool, at in reached.items() if self._positions.get(spool) != at}
        response.positions.extend(
            messages.SpoolPosition(spool_id=spool, sequence=at) for spool, at in moved.items()
        )
        self._positions = reached

    def _say_machines(
        self, response: messages.WatchFleetResponse, machines: dict[str, messages.WatchedMachine]
    ) -> None:
        failing: dict[str, set[str]] = {}
        for machine_id, _, _, check in self._failing or ():
            failing.setdefault(machine_id, set()).add(check)
        for machine_id, machine in machines.items():
            machine.failing_checks.extend(sorted(failing.get(machine_id, ())))
        response.machines.extend(one for one in machines.values() if self._said.get(one.machine_id) != one)
        response.left_machine_ids.extend(sorted(self._said.keys() - machines.keys()))
        self._said = machines


def positions_of(request: messages.WatchFleetRequest) -> dict[str, int]:
    """Raises UsageError for a spool that cannot be one."""
    try:
        return {str(uuid.UUID(one.spool_id)): one.sequence for one in request.positions}
    except ValueError as error:
        raise UsageError("A position names its spool by a UUID, as a watch has said it.") from error


def turned(results: Iterable[Arrived], failing: set[Place]) -> list[messages.WatchedResult]:
    """Each with what it is beside the verdict before; `failing` follows them."""
    said = []
    for one in results:
        was, fails = one.place in failing, one.word in FAILING
        if fails:
            failing.add(one.place)
        elif one.word not in NEITHER:
            failing.discard(one.place)
        if fails and not was:
            one.message.turn = messages.WatchedResult.TURN_BEGINS_TO_FAIL
        elif was and one.place not in failing:
            one.message.turn = messages.WatchedResult.TURN_FAILS_NO_MORE
        said.append(one.message)
    return said
