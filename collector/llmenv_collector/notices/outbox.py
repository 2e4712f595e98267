"""Sends what waits until it arrives: at least once, the least tried first, again after a while that doubles.

An attempt that arrived is audited before it is written down in the store, and the audit is not in the
database: what was told before the collector went back to a backup is not sent again.  While an attempt cannot
be written down, it is not repeated; a collector that ends before the audit sends once more, with the same id.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_collector import clock
from llmenv_collector.errors import CollectorError
from llmenv_collector.identity.identity_file import audit
from llmenv_collector.notices import delivery_store, payload
from llmenv_collector.serving import metrics

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from llmenv_collector.identity.identity_file import Identity
    from llmenv_collector.notices.delivery_store import Due
    from llmenv_collector.notices.sender import Attempt, Sender
    from llmenv_collector.notices.webhook import Webhook
    from llmenv_collector.storage.store import Store

logger = logging.getLogger(__name__)

LONGEST_REST_SECONDS = 30.0
LONGEST_WAIT_SECONDS = 3_600.0
TOLD = "notice.tell"
GIVEN_UP = "notice.give_up"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What is to be written down of a delivery."""

    state: str
    outcome: str
    next_attempt_at: int
    is_attempt: bool = True


@dataclass(kw_only=True)
class Sent:
    """What came of a delivery, until it is written down.  `at`: microseconds since 1970."""

    due: Due
    change_ids: Sequence[str]
    outcome: Outcome
    at: int
    is_audited: bool


class Outbox:
    """Lives in the event loop."""

    def __init__(self, store: Store, identity: Identity, webhooks: Sequence[Webhook], sender: Sender) -> None:
        self._store = store
        self._identity = identity
        self._webhooks = {one.name: one for one in webhooks}
        self._sender = sender
        self._woken = asyncio.Event()
        self._sent: dict[str, Sent] = {}

    def wake(self) -> None:
        """Something new waits."""
        self._woken.set()

    async def keep_sending(self) -> None:
        """Until it is cancelled."""
        while True:
            rest = LONGEST_REST_SECONDS
            try:
                rest = await self.round()
            except CollectorError as error:
                logger.warning("notices wait: %s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), rest)
            self._woken.clear()

    async def round(self) -> float:
        """Each webhook's deliveries that are due; returns the seconds until the next one is."""
        due = await asyncio.to_thread(self._due)
        # All of them to their end: one that went on by itself would send what the next round sends too.
        ended = await asyncio.gather(
            *(
                self._send_all(webhook, [one for one in due if one.webhook == name])
                for name, webhook in self._webhooks.items()
            ),
            return_exceptions=True,
        )
        for error in ended:
            if error is not None:
                raise error
        return await asyncio.to_thread(self._rest_seconds)

    async def _send_all(self, webhook: Webhook, due: Sequence[Due]) -> None:
        """One after the other; after a failure the others wait as long as what failed."""
        if webhook.name in self._sent:
            # It is among those that were due before; what else is due comes with the next round, at once.
            await self._write_down(self._sent[webhook.name])
            return
        for one in due:
            sent = self._sent[webhook.name] = await self._deliver(webhook, one)
            await self._write_down(sent)
            if sent.outcome.state == delivery_store.WAITING:
                return

    async def _write_down(self, sent: Sent) -> None:
        """Raises CollectorError; the webhook then gets nothing more until it is done."""
        if not sent.is_audited:
            await asyncio.to_thread(self._audit, sent.due, sent.change_ids, sent.outcome)
            sent.is_audited = True
        await asyncio.wrap_future(
            self._store.request(delivery_store.writing_down(sent.due, sent.outcome, now=sent.at))
        )
        del self._sent[sent.due.webhook]

    async def _deliver(self, webhook: Webhook, due: Due) -> Sent:
        notice = await asyncio.to_thread(self._content, due.notice_id)
        change_ids = [one.change_id for one in notice.changes]
        if await asyncio.to_thread(self._was_told, change_ids, webhook.name):
            outcome = Outcome(
                state=delivery_store.TOLD_BEFORE,
                outcome="it was told before the database was restored",
                next_attempt_at=clock.now(),
                is_attempt=False,
            )
        else:
            outcome = await self._attempt(webhook, due, notice)
        return Sent(
            due=due,
            change_ids=change_ids,
            outcome=outcome,
            at=clock.now(),
            is_audited=outcome.state not in {delivery_store.DELIVERED, delivery_store.GIVEN_UP},
        )

    async def _attempt(self, webhook: Webhook, due: Due, notice: payload.Content) -> Outcome:
        body = payload.body_of(notice, body=webhook.body, language=webhook.language)
        attempt = await self._sender.send(webhook, body, notice_id=due.notice_id)
        outcome = outcome_of(webhook, due, attempt, now=clock.now())
        metrics.NOTICE_ATTEMPTS.labels(outcome.state).inc()
        if outcome.state == delivery_store.WAITING:
            logger.warning("webhook %s: %s; it is sent again", webhook.name, attempt.outcome)
        elif outcome.state == delivery_store.GIVEN_UP:
            logger.error("webhook %s: given up: %s", webhook.name, attempt.outcome)
        return outcome

    def _audit(self, due: Due, change_ids: Sequence[str], outcome: Outcome) -> None:
        """A row a change, so that each is known again in whatever notice it comes."""
        action = TOLD if outcome.state == delivery_store.DELIVERED else GIVEN_UP
        detail = f"{due.webhook} {outcome.outcome}, notice {due.notice_id}"
        with self._identity.changes() as connection:
            for subject in [due.notice_id, *change_ids]:
                audit(connection, action, subject, detail)

    def _was_told(self, change_ids: Sequence[str], webhook: str) -> bool:
        """All of them, to this webhook."""
        if not change_ids:
            return False
        with self._identity.reading() as connection:
            return told_to(connection, webhook).issuperset(change_ids)

    def _due(self) -> list[Due]:
        with self._store.reader() as connection:
            return delivery_store.due(connection, webhooks=list(self._webhooks), now=clock.now())

    def _rest_seconds(self) -> float:
        with self._store.reader() as connection:
            next_at = delivery_store.next_at(connection, webhooks=list(self._webhooks))
        if next_at is None:
            return LONGEST_REST_SECONDS
        return min(max((next_at - clock.now()) / clock.MICROSECONDS, 0.0), LONGEST_REST_SECONDS)

    def _content(self, notice_id: str) -> payload.Content:
        with self._store.reader() as connection:
            return delivery_store.content(connection, notice_id)


def told_to(connection: sqlite3.Connection, webhook: str) -> set[str]:
    """Ids of all notices and changes of which the audit says so."""
    rows = connection.execute("SELECT subject, detail FROM audit WHERE action = ?", (TOLD,)).fetchall()
    return {subject for subject, detail in rows if detail.split(" ", 1)[0] == webhook}


def outcome_of(webhook: Webhook, due: Due, attempt: Attempt, *, now: int) -> Outcome:
    """Whatever is wrong with a receiver may be put right, so each refusal is tried again for days."""
    if attempt.is_delivered:
        return Outcome(state=delivery_store.DELIVERED, outcome=attempt.outcome, next_attempt_at=now)
    if now - due.made_at > webhook.give_up_seconds * clock.MICROSECONDS:
        return Outcome(state=delivery_store.GIVEN_UP, outcome=attempt.outcome, next_attempt_at=now)
    wait = max(wait_seconds(webhook, due.attempts), attempt.wait_seconds)
    next_attempt_at = now + int(wait * clock.MICROSECONDS)
    return Outcome(state=delivery_store.WAITING, outcome=attempt.outcome, next_attempt_at=next_attempt_at)


def wait_seconds(webhook: Webhook, attempts: int) -> float:
    """After so many attempts and one; spread, so that what failed together does not come back together."""
    longest = min(webhook.retry_seconds * 2.0 ** min(attempts, 30), LONGEST_WAIT_SECONDS)
    return random.uniform(longest / 2, longest)  # noqa: S311 (no secret depends on it)
