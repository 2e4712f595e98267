"""What becomes of commands, as it happens: every step since they were issued, then each new one.

Steps are read from the store, so that whoever comes late or comes back sees the same as who never left.
The store is looked at when it has committed something, and now and then anyway: time makes a command expire.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1 import result_pb2

from llmenv_collector.errors import StoreError
from llmenv_collector.fleet_commands import store as command_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    import duckdb

    from llmenv_collector.delivery.streams import Streams
    from llmenv_collector.storage.store import Store

POLL_SECONDS = 0.2
LONGEST_REST_SECONDS = 1.0


class CommandWatch:
    """Of one caller; follows it from beginning to end, once."""

    def __init__(self, store: Store, streams: Streams, *, command_ids: Sequence[str]) -> None:
        self._store = store
        self._streams = streams
        self._command_ids = command_ids
        self._said: dict[str, fleet.IssuedCommand] = {}
        self._began: set[str] = set()
        self._ended: set[str] = set()

    async def steps(self) -> AsyncIterator[fleet.WatchCommandResponse]:
        """Ends with the last command.  Raises StoreError when the collector stops before."""
        while True:
            commits, looked_at = self._store.commits, time.monotonic()
            for step in await asyncio.to_thread(self._look):
                yield step
            if all(command_store.is_over(command) for command in self._said.values()):
                return
            await self._rest(commits, looked_at)

    async def _rest(self, commits: int, looked_at: float) -> None:
        while self._store.commits == commits and time.monotonic() < looked_at + LONGEST_REST_SECONDS:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._streams.draining.wait(), POLL_SECONDS)
                raise StoreError("The collector stops; watch again when it is back.")

    def _look(self) -> list[fleet.WatchCommandResponse]:
        """New steps, in an order in which they can have happened."""
        connected = self._streams.connected()
        with self._store.reader() as connection:
            commands = command_store.by_ids(connection, self._command_ids, connected=connected)
            by_run = {
                (command.machine_id, run_id): command for command in commands for run_id in command.run_ids
            }
            checks = list(self._new_checks(connection, by_run))
        changed = [command for command in commands if self._said.get(command.command_id) != command]
        self._said.update((command.command_id, command) for command in changed)
        ends = [command for command in changed if command_store.is_over(command)]
        begins = [command for command in changed if not command_store.is_over(command)]
        return [
            *(fleet.WatchCommandResponse(command=command) for command in begins),
            *checks,
            *(fleet.WatchCommandResponse(command=command) for command in ends),
        ]

    def _new_checks(
        self,
        connection: duckdb.DuckDBPyConnection,
        by_run: dict[tuple[str, str], fleet.IssuedCommand],
    ) -> Iterator[fleet.WatchCommandResponse]:
        rows = connection.execute(
            """
            SELECT machine_id::VARCHAR, run_id::VARCHAR, result_id::VARCHAR,
                   coalesce(begun.check_name, result.check_name), begun.check_name IS NOT NULL,
                   coalesce(run.environment_name, ''), result.message
            FROM (FROM store.check_start WHERE run_id IN (SELECT unnest($run_ids::UUID[]))) AS begun
            FULL JOIN (FROM store.result WHERE run_id IN (SELECT unnest($run_ids::UUID[]))) AS result
                USING (machine_id, run_id, result_id)
            LEFT JOIN store.run AS run USING (machine_id, run_id)
            WHERE result_id NOT IN (SELECT unnest($ended::UUID[]))
            ORDER BY coalesce(begun.measured_at, result.started_at), result_id
            """,
            {"run_ids": [run_id for _, run_id in by_run], "ended": list(self._ended)},
        ).fetchall()
        for machine_id, run_id, *check in rows:
            if (machine_id, run_id) in by_run:
                yield from self._steps_of(check, by_run[machine_id, run_id], run_id)

    def _steps_of(
        self, row: Sequence[Any], command: fleet.IssuedCommand, run_id: str
    ) -> Iterator[fleet.WatchCommandResponse]:
        """A check that was left out has a result and never began."""
        result_id, name, has_begun, environment, message = row
        step = fleet.WatchCommandResponse(command=command, run_id=run_id, environment_name=environment)
        if has_begun and result_id not in self._began:
            self._began.add(result_id)
            step.check_began = name
            yield step
        if message is not None:
            self._ended.add(result_id)
            result = result_pb2.Result.FromString(message)
            yield fleet.WatchCommandResponse(
                command=command,
                check_ended=name,
                status=result.status,
                reason=result.reason,
                run_id=run_id,
                environment_name=environment,
            )
