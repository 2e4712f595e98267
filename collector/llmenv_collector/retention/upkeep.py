"""Removes what is old enough while the collector serves, in small transactions of the store's one writer.

After each it rests for as long as that took, so that deliveries have the writer at least half of the time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from llmenv_collector import clock
from llmenv_collector.errors import StoreError
from llmenv_collector.retention import state
from llmenv_collector.retention.removals import Span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv_collector.compaction.upkeep import Compaction
    from llmenv_collector.retention.policies import Policy
    from llmenv_collector.storage.store import Store

logger = logging.getLogger(__name__)

FIRST_SECONDS = 60.0
"""After a start, when agents have connected again."""


class Retention:
    """Lives in the event loop; reads and waits in threads."""

    def __init__(
        self, store: Store, policies: Sequence[Policy], compaction: Compaction | None = None
    ) -> None:
        """`compaction` follows each round: it may not copy rows from which something is being removed."""
        self._store = store
        self._policies = policies
        self._compaction = compaction
        # What was ingested again has its trials back.
        self._looks_at_all = store.reingested > 0

    async def keep_up(self, seconds: float) -> None:
        """A round every so often, until it is cancelled."""
        await asyncio.sleep(min(FIRST_SECONDS, seconds))
        while True:
            try:
                await self.round()
                if self._compaction is not None:
                    await self._compaction.round()
            except StoreError as error:
                logger.warning("what is too old is not removed: %s", error)
            await asyncio.sleep(seconds)

    async def round(self) -> dict[str, int]:
        """Rows that lost something, by policy.  After a StoreError the next one goes on."""
        removed = {policy.removal.what: await self._apply(policy) for policy in self._policies}
        self._looks_at_all = False
        return removed

    async def _apply(self, policy: Policy) -> int:
        removed = 0
        for span in await asyncio.to_thread(self._spans, policy):
            began = time.monotonic()
            removed += await asyncio.wrap_future(self._store.request(state.removing(policy, span)))
            await asyncio.sleep(time.monotonic() - began)
        if removed:
            logger.info("retention: %s of %d rows removed", policy.removal.what, removed)
        return removed

    def _spans(self, policy: Policy) -> list[Span]:
        until = policy.removes_until(clock.now())
        with self._store.reader() as connection:
            since = state.applied(connection, policy.removal.what).removed_until
            if until is None:
                return [Span(since, since)]  # which notes the policy
            if policy.removal.looks_back:
                return [Span(0, until)]
            if self._looks_at_all:
                since = 0
            return state.spans(connection, policy.removal.received, Span(since, max(since, until)))
