"""Acknowledgements as people make them: taken, withdrawn and listed.

What is acknowledged has to be a finding of the report now, so that a slip of the hand covers nothing, and
one cause or one known issue, so that nobody covers what they did not read.  The audit row comes before the
change.
"""

from __future__ import annotations

import asyncio
import functools
import math
import unicodedata
from typing import TYPE_CHECKING, Any

from llmenv.catalog.status import WORDS
from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.ids import new_id

from llmenv_collector import clock
from llmenv_collector.acknowledgements import store as acknowledgement_store
from llmenv_collector.acknowledgements.store import Note
from llmenv_collector.errors import NotFoundError, UsageError
from llmenv_collector.fleet_report import coverage, findings, period
from llmenv_collector.identity.identity_file import audit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmenv.fleet.v1.fleet_report_pb2 import FindingRow

    from llmenv_collector.fleet.machine_selection import Selector
    from llmenv_collector.identity.identity_file import Identity
    from llmenv_collector.identity.tokens import Token
    from llmenv_collector.storage.store import Store

LONGEST_DAYS = 366
LONGEST_REASON = 1_000
DEFAULT_LISTED, MAX_LISTED = 50, 1_000
MOST_NAMED = 5
DAY_SECONDS = 86_400


class AcknowledgementDesk:
    """Lives in the event loop; what takes time is done in threads."""

    def __init__(self, *, store: Store, identity: Identity, selector: Selector) -> None:
        self._store = store
        self._identity = identity
        self._selector = selector

    async def acknowledge(
        self, request: fleet.AcknowledgeFindingRequest, *, by: Token
    ) -> fleet.AcknowledgeFindingResponse:
        """Raises UsageError, or NotFoundError when the report has no such finding."""
        seconds = lifetime(request.expires_in_seconds)
        reason = require_reason(request.reason)
        machine_ids = await self._machine_ids(request.machines, by=by)
        meant = chosen(request, await self._findings(request.check_name, machine_ids))
        now = clock.now()
        note = Note(
            acknowledgement_id=new_id(),
            check_name=request.check_name,
            statuses=sorted({WORDS[one.status] for one in meant}),
            remedy_id=request.remedy_id or None,
            cause=None if request.remedy_id and not request.cause else meant[0].cause,
            finding=meant[0].reason,
            machine_ids=machine_ids,
            reason=reason,
            acknowledged_at=now,
            acknowledged_by=by.label or by.token_id,
            expires_at=now + int(seconds * clock.MICROSECONDS),
        )
        detail = f"{note.check_name} for {seconds / DAY_SECONDS:g} days, by token {by.token_id}: {reason}"
        await self._audit("finding.acknowledge", note.acknowledgement_id, detail)
        await asyncio.wrap_future(
            self._store.request(functools.partial(acknowledgement_store.add, note=note))
        )
        return fleet.AcknowledgeFindingResponse(
            known_failure=await self._read(acknowledgement_store.by_id, note.acknowledgement_id),
            hostnames=sorted({name for one in meant for name in one.hostnames}),
        )

    async def withdraw(self, identity: str, *, by: Token) -> fleet.KnownFailure:
        """Raises NotFoundError or UsageError."""
        acknowledgement_id = await self._read(acknowledgement_store.find, identity)
        await self._audit("finding.withdraw", acknowledgement_id, f"by token {by.token_id}")
        act = functools.partial(
            acknowledgement_store.withdraw,
            acknowledgement_id=acknowledgement_id,
            now=clock.now(),
            by=by.label or by.token_id,
        )
        await asyncio.wrap_future(self._store.request(act))
        known: fleet.KnownFailure = await self._read(acknowledgement_store.by_id, acknowledgement_id)
        return known

    async def newest(self, *, limit: int) -> fleet.ListAcknowledgementsResponse:
        at_most = min(limit or DEFAULT_LISTED, MAX_LISTED)
        listed: fleet.ListAcknowledgementsResponse = await self._read(
            functools.partial(acknowledgement_store.newest, limit=at_most)
        )
        return listed

    async def _machine_ids(self, names: Sequence[str], *, by: Token) -> list[str]:
        """Raises NotFoundError for a machine that there is not."""
        if not names:
            return []
        selected = await self._selector.select(fleet.MachineSelection(machines=names), person=by.token_id)
        return [one.machine_id for one in selected]

    async def _findings(self, check_name: str, machine_ids: Sequence[str]) -> list[FindingRow]:
        """Of this check, as the report without options has them."""
        now = clock.now()
        looked_at = period.Period(
            as_of=now,
            since=now - period.DEFAULT_DAYS * period.DAY_MICROSECONDS,
            machines=frozenset(machine_ids) or None,
            checks=frozenset({check_name}),
            revoked=self._identity.standing().barred,
        )

        def read(connection: Any) -> list[FindingRow]:
            coverage.require_known(connection, looked_at.checks)
            period.lay_out(connection, looked_at)
            return findings.findings(connection, looked_at)

        found: list[FindingRow] = await self._read(read)
        return found

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


def chosen(request: fleet.AcknowledgeFindingRequest, found: Sequence[FindingRow]) -> list[FindingRow]:
    """Rows of one cause, or of one remedy.  Raises NotFoundError or UsageError."""
    remedy_id, words = request.remedy_id, request.cause.strip()
    fitting = [one for one in found if remedy_id in {"", one.remedy_id} and says(one, words)]
    exact = [one for one in fitting if words in {one.cause, one.reason.text}] if words else []
    fitting = exact or fitting
    if not fitting:
        raise NotFoundError(
            f"The report has no such finding of the check {request.check_name!r}; {present(found)}"
        )
    is_remedy = bool(remedy_id) and not words
    if not is_remedy and len({one.cause for one in fitting}) > 1:
        raise UsageError(
            f"These are several causes of the check {request.check_name!r}: say which one, by words of it or"
            f" by its remedy; {present(fitting)}"
        )
    return fitting


def says(row: FindingRow, words: str) -> bool:
    return any(words.casefold() in text.casefold() for text in (row.cause, row.reason.text))


def present(rows: Sequence[FindingRow]) -> str:
    """What there is to choose from, in one clause."""
    if not rows:
        return "all its results of the last 30 days pass now, or there are none."
    known = dict.fromkeys(
        f"{one.reason.text!r}" + (f" ({one.remedy_id})" if one.remedy_id else "") for one in rows
    )
    more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
    return f"there is {', '.join(list(known)[:MOST_NAMED])}{more}."


def require_reason(text: str) -> str:
    reason = text.strip()
    if not reason:
        raise UsageError("Say why it may stand: an acknowledgement has a reason.")
    if len(reason) > LONGEST_REASON:
        raise UsageError(f"A reason has at most {LONGEST_REASON:,} characters, not {len(reason):,}.")
    if any(unicodedata.category(character) == "Cc" for character in reason):
        raise UsageError("A reason is one line of text: it holds a line break or a control character.")
    return reason


def lifetime(seconds: float) -> float:
    """Seconds from now until it counts no more."""
    if not (math.isfinite(seconds) and 0 < seconds <= LONGEST_DAYS * DAY_SECONDS):
        raise UsageError(
            f"An acknowledgement expires within {LONGEST_DAYS} days, not in {seconds:g} s: say until when."
        )
    return seconds
