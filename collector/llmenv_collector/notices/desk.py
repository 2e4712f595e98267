"""What people do with notices: list them, try a webhook, mute and end a mute.

The audit row comes before the change.
"""

from __future__ import annotations

import asyncio
import functools
import math
import unicodedata
from typing import TYPE_CHECKING, Any

from llmenv.catalog.texts import texts
from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1 import notice_service_pb2 as messages
from llmenv.ids import new_id

from llmenv_collector import clock
from llmenv_collector.errors import NotFoundError, UsageError
from llmenv_collector.fleet_report import coverage
from llmenv_collector.identity.identity_file import audit
from llmenv_collector.notices import listing, mute_store, payload
from llmenv_collector.notices.mute_store import NewMute
from llmenv_collector.notices.state_change import Kind
from llmenv_collector.pages.html import known_language

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmenv_collector.fleet.machine_selection import Selector
    from llmenv_collector.identity.identity_file import Identity
    from llmenv_collector.identity.tokens import Token
    from llmenv_collector.notices.work import NoticeWork
    from llmenv_collector.storage.store import Store

LONGEST_DAYS = 366
DAY_SECONDS = 86_400
LONGEST_REASON = 1_000
DEFAULT_LISTED, MAX_LISTED = 50, 1_000


class NoticeDesk:
    """Lives in the event loop; what takes time is done in threads."""

    def __init__(self, *, store: Store, identity: Identity, selector: Selector, work: NoticeWork) -> None:
        self._store = store
        self._identity = identity
        self._selector = selector
        self._work = work

    async def newest(self, request: messages.ListNoticesRequest) -> messages.ListNoticesResponse:
        query = functools.partial(
            listing.newest,
            only_undelivered=request.only_undelivered,
            limit=at_most(request.limit),
            words=texts(known_language(request.language)),
        )
        listed: messages.ListNoticesResponse = await self._read(query)
        listed.webhooks.extend(sorted(self._work.webhooks))
        return listed

    async def test(self, name: str, *, by: Token) -> messages.TestWebhookResponse:
        """Raises NotFoundError."""
        webhook = self._work.webhooks.get(name)
        if webhook is None:
            known = ", ".join(sorted(self._work.webhooks)) or "none"
            raise NotFoundError(f"collector.toml has no webhook {name!r}; there are: {known}.")
        notice = payload.Content(notice_id=new_id(), kind=payload.TEST, made_at=clock.now(), subject=name)
        await self._audit("notice.test", notice.notice_id, f"{name}, by token {by.token_id}")
        body = payload.body_of(notice, body=webhook.body, language=webhook.language)
        attempt = await self._work.sender().send(webhook, body, notice_id=notice.notice_id)
        return messages.TestWebhookResponse(is_delivered=attempt.is_delivered, outcome=attempt.outcome)

    async def mute(self, request: messages.MuteNoticesRequest, *, by: Token) -> messages.Mute:
        """Raises UsageError, or NotFoundError for a machine or check that there is not."""
        if not (request.machines or request.check_name or request.kind):
            raise UsageError("Say what is muted: machines, a check or a kind of change.")
        if request.kind and request.kind not in set(Kind):
            raise UsageError(f"There is no kind {request.kind!r}; there are {', '.join(Kind)}.")
        seconds, reason = lifetime(request.expires_in_seconds), require_reason(request.reason)
        await self._read(functools.partial(coverage.require_known, checks=checks_of(request.check_name)))
        now = clock.now()
        mute = NewMute(
            mute_id=new_id(),
            machine_ids=await self._machine_ids(request.machines, by=by),
            check_name=request.check_name,
            kind=request.kind,
            reason=reason,
            muted_at=now,
            muted_by=by.label or by.token_id,
            expires_at=now + int(seconds * clock.MICROSECONDS),
        )
        detail = f"{described(mute)} for {seconds / DAY_SECONDS:g} days, by token {by.token_id}: {reason}"
        await self._audit("notice.mute", mute.mute_id, detail)
        await asyncio.wrap_future(self._store.request(functools.partial(mute_store.add, mute=mute)))
        stored: messages.Mute = await self._read(mute_store.by_id, mute.mute_id)
        return stored

    async def unmute(self, identity: str, *, by: Token) -> messages.Mute:
        """Raises NotFoundError or UsageError."""
        mute_id = await self._read(mute_store.find, identity)
        await self._audit("notice.unmute", mute_id, f"by token {by.token_id}")
        act = functools.partial(
            mute_store.withdraw, mute_id=mute_id, now=clock.now(), by=by.label or by.token_id
        )
        await asyncio.wrap_future(self._store.request(act))
        stored: messages.Mute = await self._read(mute_store.by_id, mute_id)
        return stored

    async def mutes(self, *, limit: int) -> messages.ListMutesResponse:
        query = functools.partial(mute_store.newest, limit=at_most(limit))
        listed: messages.ListMutesResponse = await self._read(query)
        return listed

    async def _machine_ids(self, names: Sequence[str], *, by: Token) -> list[str]:
        """Raises NotFoundError for a machine that there is not."""
        if not names:
            return []
        selected = await self._selector.select(fleet.MachineSelection(machines=names), person=by.token_id)
        return [one.machine_id for one in selected]

    async def _read(self, query: Callable[..., Any], *arguments: object) -> Any:
        def read() -> Any:
            with self._store.reader() as connection:
                return query(connection, *arguments)

        return await asyncio.to_thread(read)

    async def _audit(self, action: str, subject: str, detail: str) -> None:
        def write() -> None:
            with self._identity.changes() as connection:
                audit(connection, action, subject, detail)

        await asyncio.to_thread(write)


def at_most(limit: int) -> int:
    return min(limit or DEFAULT_LISTED, MAX_LISTED)


def checks_of(name: str) -> frozenset[str]:
    return frozenset({name}) if name else frozenset()


def described(mute: NewMute) -> str:
    """For the audit."""
    machines = f"{len(mute.machine_ids)} machines" if mute.machine_ids else "all machines"
    return ", ".join(part for part in (machines, mute.check_name, mute.kind) if part)


def require_reason(text: str) -> str:
    reason = text.strip()
    if not reason:
        raise UsageError("Say why nobody needs to be told: a mute has a reason.")
    if len(reason) > LONGEST_REASON:
        raise UsageError(f"A reason has at most {LONGEST_REASON:,} characters, not {len(reason):,}.")
    if any(unicodedata.category(character) == "Cc" for character in reason):
        raise UsageError("A reason is one line of text: it holds a line break or a control character.")
    return reason


def lifetime(seconds: float) -> float:
    """Seconds from now until it counts no more."""
    if not (math.isfinite(seconds) and 0 < seconds <= LONGEST_DAYS * DAY_SECONDS):
        raise UsageError(f"A mute ends within {LONGEST_DAYS} days, not in {seconds:g} s: say until when.")
    return seconds
