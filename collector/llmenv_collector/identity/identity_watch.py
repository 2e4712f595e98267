"""What changed in the identity file, known within a second, whichever program changed it.

Streams of machines that may deliver no more are ended, and calls with a revoked token; streams of machines
that were approved begin anew.  None of this waits for the store, which may be slow or have no room: names and
the audit reach it, and what forgotten machines delivered goes, beside that and later.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from typing import TYPE_CHECKING

import duckdb

from llmenv_collector.errors import CollectorError, ForbiddenError
from llmenv_collector.identity import audit_copy, forgetting, machine_register, tokens
from llmenv_collector.identity.standing import BARRED, State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from llmenv_collector.delivery.streams import Streams
    from llmenv_collector.identity.identity_file import Identity
    from llmenv_collector.serving.open_calls import OpenCalls
    from llmenv_collector.storage.store import Store

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
LINGER_SECONDS = 30.0
"""After a machine was forgotten, deliveries that were under way may still reach the store."""


class IdentityWatch:
    """Lives in the event loop."""

    def __init__(self, *, identity: Identity, store: Store, streams: Streams, calls: OpenCalls) -> None:
        self._identity = identity
        self._store = store
        self._streams = streams
        self._calls = calls
        self._revoked_tokens: frozenset[str] = frozenset()
        self._states: Mapping[str, State] = {}
        self._names: Mapping[str, str] = {}
        self._forgotten: frozenset[str] = frozenset()
        self._forgets_until = 0.0

    async def keep_up(self, seconds: float = LOOK_SECONDS) -> None:
        """Until it is cancelled.  What cannot be read now is tried again."""
        await self._follow(self.look, self.enforce, seconds)

    async def keep_copying(self, seconds: float = LOOK_SECONDS) -> None:
        """Until it is cancelled.  What cannot be written now is tried again."""
        await self._follow(self.copy, self._forget, seconds)

    async def _follow(
        self, changed: Callable[[], Awaitable[None]], always: Callable[[], Awaitable[None]], seconds: float
    ) -> None:
        seen = None
        with self._identity.followed() as version:
            while True:
                try:
                    now = await asyncio.to_thread(version)
                    if now != seen:
                        await changed()
                        seen = now
                    await always()
                except (CollectorError, sqlite3.Error, duckdb.Error) as error:
                    logger.warning("what changed in the identity file waits: %s", error)
                await asyncio.sleep(seconds)

    async def copy_last(self) -> None:
        """What was decided until the end is in the store as well."""
        try:
            await self.copy()
        except CollectorError as error:
            logger.warning("what was decided last is copied at the next start: %s", error)

    async def look(self) -> None:
        """Reads what decides on streams and calls."""
        machines = await asyncio.to_thread(self._identity.every_machine)
        self._states = {one.machine_id: one.state for one in machines}
        self._revoked_tokens = await asyncio.to_thread(tokens.revoked, self._identity)

    async def copy(self) -> None:
        """Writes to the store what it lacks."""
        machines = await asyncio.to_thread(self._identity.every_machine)
        names = await asyncio.to_thread(machine_register.names, self._identity)
        if names != self._names:
            await asyncio.wrap_future(self._store.name(names))
            self._names = names
        await audit_copy.bring_up(self._identity, self._store)
        forgotten = frozenset(one.machine_id for one in machines if one.state is State.FORGOTTEN)
        if forgotten != self._forgotten:
            self._forgotten = forgotten
            self._forgets_until = time.monotonic() + LINGER_SECONDS

    async def enforce(self) -> None:
        """Looks at every open stream and call, also at those that opened since the last change."""
        self._calls.end(self._revoked_tokens)
        for machine_id in self._streams.connected():
            state = self._states.get(machine_id, State.ENROLLED)
            if state in BARRED:
                sentence = BARRED[state].format(machine_id=machine_id)
                self._streams.end(machine_id, ForbiddenError(sentence))
            elif state is State.ENROLLED:
                self._streams.approve(machine_id)

    async def _forget(self) -> None:
        if not self._forgotten or time.monotonic() > self._forgets_until:
            return
        lingering = await asyncio.to_thread(self._lingering)
        if lingering:
            await asyncio.wrap_future(
                self._store.request(lambda connection: forgetting.forget(connection, lingering))
            )
            logger.info("removed what %d forgotten machines had delivered", len(lingering))

    def _lingering(self) -> frozenset[str]:
        with self._store.reader() as connection:
            return forgetting.lingering(connection, self._forgotten)
