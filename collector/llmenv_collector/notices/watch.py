"""Looks for changes of state in the background, and has notices made of those that are told now.

What was found is committed before it is decided about, and a notice with its deliveries is one transaction
with what it tells of, so that a collector that ends in between neither loses one nor tells it twice.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_collector import clock
from llmenv_collector.errors import CollectorError
from llmenv_collector.notices import check_changes, notice_store, regressions, silence, state_change, telling
from llmenv_collector.notices.state_change import Fate
from llmenv_collector.serving import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmenv_collector.identity.identity_file import Identity
    from llmenv_collector.notices.state_change import StateChange
    from llmenv_collector.notices.webhook import Webhook
    from llmenv_collector.storage.store import Store

logger = logging.getLogger(__name__)

LATE = 600 * clock.MICROSECONDS
"""A record may be committed this long after it was received."""
KEEP_LOOK = 3_600 * clock.MICROSECONDS
"""Without a change, how far was looked is written down this often."""
CATCH_UP = 600 * clock.MICROSECONDS
"""A collector began again: machines connect and deliver what they kept before any is said to be silent."""


@dataclass(frozen=True)
class Look:
    found: list[StateChange]
    is_first: bool
    analysed_at: int
    now: int


class Watch:
    """Lives in the event loop; reads in threads."""

    def __init__(
        self,
        store: Store,
        identity: Identity,
        webhooks: Sequence[Webhook],
        *,
        gather_seconds: float,
        wake: Callable[[], None],
        now: Callable[[], int] = clock.now,
    ) -> None:
        self._store = store
        self._identity = identity
        self._webhooks = webhooks
        self._gather = int(gather_seconds * clock.MICROSECONDS)
        self._wake = wake
        self._now = now
        self._looked_until: int | None = None
        self._caught_up_at = 0
        self._kept_look = 0
        self._analysed_at = -1

    async def keep_watch(self, seconds: float) -> None:
        """A round every so often, until it is cancelled."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.round()
            except CollectorError as error:
                logger.warning("changes of state are not up to date: %s", error)

    async def round(self) -> None:
        look = await asyncio.to_thread(self._look)
        if look.found or look.is_first or look.now > self._kept_look + KEEP_LOOK:
            fate = Fate.KNOWN if look.is_first else Fate.WAITING
            await asyncio.wrap_future(
                self._store.request(state_change.keeping(look.found, now=look.now, fate=fate))
            )
            self._kept_look = look.now
        self._looked_until, self._analysed_at = look.now, look.analysed_at
        await self._tell()

    async def _tell(self) -> None:
        now = self._now()
        made = await asyncio.to_thread(self._plan, now)
        if not (made.notices or made.overtaken or made.muted):
            return
        await asyncio.wrap_future(
            self._store.request(notice_store.carrying_out(made, self._webhooks, now=now))
        )
        metrics.NOTICES.inc(len(made.notices))
        if made.notices:
            self._wake()

    def _look(self) -> Look:
        now, standing = self._now(), self._identity.standing()
        with self._store.reader() as connection:
            since = self._looked_until or state_change.looked_until(connection)
            if since is None:
                found = check_changes.failing_now(connection)
            else:
                found = check_changes.found_since(connection, max(0, since - LATE))
            if since is not None and self._looked_until is None:
                self._caught_up_at = now + CATCH_UP
            if now >= self._caught_up_at:
                found += silence.found(connection, standing=standing, now=now)
            analysed_at = regressions.analysed_at(connection)
            if analysed_at != self._analysed_at:
                found += regressions.found(connection, revoked=standing.barred, now=now)
        return Look(found, since is None, analysed_at, now)

    def _plan(self, now: int) -> telling.Plan:
        with self._store.reader() as connection:
            waiting = notice_store.read_waiting(connection, now=now)
            if not waiting:
                return telling.Plan()
            standing = self._identity.standing()
            known = notice_store.read_known(
                connection, gone=standing.barred | standing.retired, gather=self._gather, now=now
            )
        return telling.plan(waiting, known)
