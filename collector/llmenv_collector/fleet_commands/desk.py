"""Commands as people give them: issued, taken back, listed and watched.

A command is committed before a machine is told of it, and its audit row before the command, so that somebody
answers for each.
"""

from __future__ import annotations

import asyncio
import functools
import json
import math
from typing import TYPE_CHECKING, Any

from llmenv import failpoints
from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.ids import new_id

from llmenv_collector import clock
from llmenv_collector.errors import StoreError, UsageError
from llmenv_collector.fleet_commands import store as command_store
from llmenv_collector.fleet_commands.watch import CommandWatch
from llmenv_collector.identity.identity_file import audit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import duckdb
    from llmenv.fleet.v1.agent_service_pb2 import RunChecks

    from llmenv_collector.delivery.streams import Streams
    from llmenv_collector.fleet.machine_selection import Candidate, Selector
    from llmenv_collector.identity.identity_file import Identity
    from llmenv_collector.identity.tokens import Token
    from llmenv_collector.storage.store import Store

DEFAULT_SECONDS = 86_400.0
LONGEST_SECONDS = 90 * 86_400.0
LONGEST_SPLAY_SECONDS = 7 * 86_400.0
DEFAULT_LISTED = 50
MAX_LISTED = 1_000
DEVICES = ("", "mps", "cuda", "cpu")


class CommandDesk:
    """Lives in the event loop; what takes time is done in threads."""

    def __init__(self, *, store: Store, identity: Identity, streams: Streams, selector: Selector) -> None:
        self._store = store
        self._identity = identity
        self._streams = streams
        self._selector = selector

    async def issue(self, request: fleet.IssueCommandRequest, *, by: Token) -> fleet.IssueCommandResponse:
        """One command a machine.  Raises UsageError, or NotFoundError when no machine is selected."""
        require_acceptable(request.run_checks)
        seconds = lifetime(request.expires_in_seconds)
        if request.run_checks.splay_seconds >= seconds:
            raise UsageError(
                f"Machines begin up to {request.run_checks.splay_seconds:g} s later, and after {seconds:g} s"
                " nobody begins any more: let the command expire later."
            )
        chosen = await self._selector.select(request.selection, person=by.token_id)
        if request.is_dry_run:
            return fleet.IssueCommandResponse(commands=self._would_issue(request.run_checks, chosen))
        now = clock.now()
        batch = command_store.Batch(
            batch_id=new_id(),
            machine_ids=[one.machine_id for one in chosen],
            run_checks=request.run_checks,
            issued_at=now,
            issued_by=by.label or by.token_id,
            expires_at=now + int(seconds * clock.MICROSECONDS),
        )
        detail = f"{described(request.run_checks)} on {len(chosen)} machines, by token {by.token_id}"
        await self._audit("command.issue", batch.batch_id, detail)
        await self._change(functools.partial(command_store.issue, batch=batch), batch.machine_ids)
        failpoints.reach("collector.command.issued", error=StoreError)
        commands = await self._read(command_store.newest, batch_id=batch.batch_id, limit=len(chosen))
        return fleet.IssueCommandResponse(batch_id=batch.batch_id, commands=commands)

    async def cancel(self, identity: str, *, by: Token) -> list[fleet.IssuedCommand]:
        """Those that had not ended yet, as they are now.  Raises NotFoundError or UsageError."""
        found = await self._found(identity)
        going = [one for one in found if not command_store.is_over(one)]
        if not going:
            return []
        command_ids = [one.command_id for one in going]
        detail = f"{len(going)} commands, by token {by.token_id}"
        await self._audit("command.cancel", identity, detail)
        act = functools.partial(
            command_store.cancel, command_ids=command_ids, now=clock.now(), by=by.label or by.token_id
        )
        await self._change(act, [one.machine_id for one in going])
        return await self._read(command_store.by_ids, command_ids=command_ids)

    async def newest(self, *, batch_id: str, limit: int) -> list[fleet.IssuedCommand]:
        """Newest first."""
        at_most = min(limit or DEFAULT_LISTED, MAX_LISTED)
        return await self._read(command_store.newest, batch_id=batch_id, limit=at_most)

    async def watch(self, identity: str) -> CommandWatch:
        """Raises NotFoundError or UsageError."""
        found = await self._found(identity)
        return CommandWatch(self._store, self._streams, command_ids=[one.command_id for one in found])

    def _would_issue(self, run_checks: RunChecks, chosen: Sequence[Candidate]) -> list[fleet.IssuedCommand]:
        connected = self._streams.connected()
        return [
            fleet.IssuedCommand(
                machine_id=one.machine_id,
                hostname=one.hostname,
                is_connected=one.machine_id in connected,
                run_checks=run_checks,
            )
            for one in chosen
        ]

    async def _found(self, identity: str) -> list[fleet.IssuedCommand]:
        def read(connection: duckdb.DuckDBPyConnection, *, connected: frozenset[str]) -> Any:
            command_ids = command_store.find(connection, identity)
            return command_store.by_ids(connection, command_ids, connected=connected)

        return await self._read(read)

    async def _read(self, query: Callable[..., Any], **arguments: object) -> list[fleet.IssuedCommand]:
        connected = self._streams.connected()

        def read() -> list[fleet.IssuedCommand]:
            with self._store.reader() as connection:
                commands: list[fleet.IssuedCommand] = query(connection, connected=connected, **arguments)
                return commands

        return await asyncio.to_thread(read)

    async def _change(
        self, act: Callable[[duckdb.DuckDBPyConnection], None], machine_ids: Sequence[str]
    ) -> None:
        await asyncio.wrap_future(self._store.request(act))
        self._streams.tell(frozenset(machine_ids))

    async def _audit(self, action: str, subject: str, detail: str) -> None:
        def write() -> None:
            with self._identity.changes() as connection:
                audit(connection, action, subject, detail)

        await asyncio.to_thread(write)


def require_acceptable(asked: RunChecks) -> None:
    """What no machine could do is refused here; what one has is its own to say.  Raises UsageError."""
    if bool(asked.suite) == bool(asked.checks):
        raise UsageError("Name either a suite or checks.")
    if asked.device not in DEVICES:
        raise UsageError(f"The device is mps, cuda or cpu, not {asked.device!r}.")
    try:
        parameters = json.loads(asked.parameters_json or "{}")
    except ValueError as error:
        raise UsageError(f"The parameters are no JSON: {error}.") from error
    require_splay(asked.splay_seconds)
    if not isinstance(parameters, dict) or not all(isinstance(each, dict) for each in parameters.values()):
        raise UsageError("The parameters are no JSON object of objects, one a check.")


def require_splay(seconds: float) -> None:
    if not (math.isfinite(seconds) and 0 <= seconds <= LONGEST_SPLAY_SECONDS):
        longest = LONGEST_SPLAY_SECONDS / 86_400
        raise UsageError(f"A splay is at most {longest:.0f} days long, not {seconds:g} s.")


def lifetime(asked: float) -> float:
    """Seconds from now until nobody begins the command any more; 0 asks for the default."""
    seconds = asked or DEFAULT_SECONDS
    if not (math.isfinite(seconds) and 0 < seconds <= LONGEST_SECONDS):
        raise UsageError(f"A command expires within {LONGEST_SECONDS / 86_400:.0f} days, not in {asked:g} s.")
    return seconds


def described(asked: RunChecks) -> str:
    """What is to be run, for the audit."""
    return f"suite {asked.suite}" if asked.suite else f"checks {', '.join(asked.checks)}"
