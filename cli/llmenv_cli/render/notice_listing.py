"""Notices and mutes as rows: what was told to whom, and what is not told until when."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import notice_service_pb2 as messages

from llmenv_cli.render.listing import Field, Listing, Row
from llmenv_cli.render.sections.wording import title, when_in_column

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from llmenv.catalog.texts import Texts

    from llmenv_cli.render.listing import Value

NOTICES = (
    "notice_id",
    "made_at",
    "kind",
    "notice",
    "changes",
    "webhook",
    "delivery",
    "attempts",
    "next_attempt_at",
    "outcome",
)
MUTES = (
    "mute_id",
    "covers",
    "kind",
    "check",
    "machines",
    "reason",
    "muted_by",
    "muted_at",
    "expires_at",
    "state",
    "waiting_changes",
    "withdrawn_by",
    "withdrawn_at",
)
TELLING = 13
"""Characters of an id that hold its time to the millisecond."""


def notices_listing(notices: Iterable[messages.Notice], texts: Texts) -> Listing:
    """A row a notice and webhook, or one for a notice that goes to none."""
    fields = [
        Field(
            key=key,
            title=texts.say(f"notice_column.{key}"),
            is_number=key in {"changes", "attempts"},
            wraps=key in {"notice", "outcome"},
            is_optional=key in {"kind", "attempts", "next_attempt_at"},
        )
        for key in NOTICES
    ]
    rows = [row for one in notices for row in _notice_rows(one, texts)]
    return Listing(fields=fields, rows=rows, hidden=frozenset({"notice_id", "changes"}))


def test_listing(webhook: str, answer: messages.TestWebhookResponse, texts: Texts) -> Listing:
    """One row: whether the webhook took a test."""
    state = "delivered" if answer.is_delivered else "refused"
    values: dict[str, Value] = {"webhook": webhook, "delivery": state, "outcome": answer.outcome}
    fields = [Field(key=key, title=texts.say(f"notice_column.{key}")) for key in values]
    return Listing(
        fields=fields, rows=[Row(values=values, shown={"delivery": texts.say(f"notice_state.{state}")})]
    )


def mutes_listing(mutes: Iterable[messages.Mute], texts: Texts) -> Listing:
    """A row a mute."""
    fields = [
        Field(
            key=key,
            title=texts.say(f"notice_column.{key}"),
            is_number=key == "waiting_changes",
            wraps=key in {"covers", "reason"},
            is_optional=key in {"muted_at", "muted_by"},
        )
        for key in MUTES
    ]
    hidden = frozenset({"kind", "check", "machines", "withdrawn_by", "withdrawn_at"})
    return Listing(fields=fields, rows=[_mute_row(one, texts) for one in mutes], hidden=hidden)


def _notice_rows(notice: messages.Notice, texts: Texts) -> Iterator[Row]:
    values: dict[str, Value] = {
        "notice_id": notice.notice_id,
        "made_at": notice.made_at.ToDatetime(dt.UTC),
        "kind": notice.kind,
        "notice": notice.text,
        "changes": notice.changes,
    }
    shown = {
        "made_at": when_in_column(notice.made_at),
        "kind": texts.name_of("notice_kind", notice.kind),
    }
    if not notice.deliveries:
        nothing: dict[str, Value] = dict.fromkeys(("webhook", "delivery", "next_attempt_at"))
        values |= nothing | {"attempts": 0, "outcome": ""}
        yield Row(values=values, shown=shown | {"delivery": texts.say("notices.nobody")})
    for one in notice.deliveries:
        state = word_of(messages.NoticeDelivery.State, one.state)
        waits = one.HasField("next_attempt_at")
        yield Row(
            values=values
            | {
                "webhook": one.webhook,
                "delivery": state,
                "attempts": one.attempts,
                "next_attempt_at": one.next_attempt_at.ToDatetime(dt.UTC) if waits else None,
                "outcome": one.outcome,
            },
            shown=shown
            | {"delivery": texts.say(f"notice_state.{state}")}
            | ({"next_attempt_at": when_in_column(one.next_attempt_at)} if waits else {}),
        )


def _mute_row(mute: messages.Mute, texts: Texts) -> Row:
    state = word_of(messages.Mute.State, mute.state)
    withdrawn_at = mute.withdrawn_at.ToDatetime(dt.UTC) if mute.HasField("withdrawn_at") else None
    return Row(
        values={
            "mute_id": mute.mute_id,
            "covers": "; ".join(filter(None, (mute.kind, mute.check_name, ", ".join(mute.hostnames)))),
            "kind": mute.kind,
            "check": mute.check_name,
            "machines": ", ".join(mute.hostnames),
            "reason": mute.reason,
            "muted_by": mute.muted_by,
            "muted_at": mute.muted_at.ToDatetime(dt.UTC),
            "expires_at": mute.expires_at.ToDatetime(dt.UTC),
            "state": state,
            "waiting_changes": mute.waiting_changes,
            "withdrawn_by": mute.withdrawn_by,
            "withdrawn_at": withdrawn_at,
        },
        shown={
            "mute_id": mute.mute_id[:TELLING],
            "covers": _covers(mute, texts),
            "muted_at": when_in_column(mute.muted_at),
            "expires_at": when_in_column(mute.expires_at),
            "state": texts.say(f"acknowledgement_state.{state}"),
        },
    )


def _covers(mute: messages.Mute, texts: Texts) -> str:
    """What it is confined to, in words."""
    parts = (
        texts.name_of("notice_kind", mute.kind) if mute.kind else "",
        title(mute.check_name, texts) if mute.check_name else "",
        ", ".join(mute.hostnames) or texts.say("acknowledgements.all_machines"),
    )
    return "; ".join(part for part in parts if part)


def word_of(states: object, state: int) -> str:
    """Such as "in_force"; "unspecified" for one of a newer collector."""
    known = states.values()  # type: ignore[attr-defined]
    name: str = states.Name(state if state in known else 0)  # type: ignore[attr-defined]
    return name.removeprefix("STATE_").lower()
