"""Acknowledgements as rows: what somebody let stand, why, until when, and whether it counts."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from llmenv.catalog.status import WORDS
from llmenv.fleet.v1 import fleet_service_pb2 as messages

from llmenv_cli.render.listing import Field, Listing, Row
from llmenv_cli.render.sections.wording import title, when_in_column

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmenv.catalog.texts import Texts

    from llmenv_cli.render.listing import Value

COLUMNS = (
    "acknowledgement_id",
    "check",
    "statuses",
    "finding",
    "remedy_id",
    "cause",
    "machines",
    "reason",
    "acknowledged_by",
    "acknowledged_at",
    "expires_at",
    "state",
    "withdrawn_by",
    "withdrawn_at",
)
FOR_PROGRAMS = frozenset({"statuses", "cause", "withdrawn_by", "withdrawn_at"})
WRAPPED = frozenset({"check", "finding", "machines", "reason"})
OPTIONAL = frozenset({"machines", "remedy_id", "acknowledged_at", "acknowledged_by"})
TELLING = 13
"""Characters of an id that hold its time to the millisecond: people take no two notes in one."""


def acknowledgements_listing(known: Iterable[messages.KnownFailure], texts: Texts) -> Listing:
    """A row a note."""
    fields = [
        Field(
            key=key,
            title=texts.say(f"column.{key}"),
            wraps=key in WRAPPED,
            is_optional=key in OPTIONAL,
        )
        for key in COLUMNS
    ]
    return Listing(fields=fields, rows=[_row(one, texts) for one in known], hidden=FOR_PROGRAMS)


def state_word(known: messages.KnownFailure) -> str:
    """Such as "in_force"."""
    is_known = known.state in messages.KnownFailure.State.values()
    state = known.state if is_known else messages.KnownFailure.STATE_UNSPECIFIED
    return messages.KnownFailure.State.Name(state).removeprefix("STATE_").lower()


def _row(known: messages.KnownFailure, texts: Texts) -> Row:
    note, state = known.acknowledgement, state_word(known)
    withdrawn_at = known.withdrawn_at.ToDatetime(dt.UTC) if known.HasField("withdrawn_at") else None
    values: dict[str, Value] = {
        "acknowledgement_id": known.acknowledgement_id,
        "check": known.check_name,
        "statuses": ", ".join(WORDS.get(status, "unknown") for status in known.statuses),
        "finding": known.finding.text,
        "remedy_id": known.remedy_id,
        "cause": known.cause,
        "machines": ", ".join(known.hostnames),
        "reason": note.reason,
        "acknowledged_by": note.acknowledged_by,
        "acknowledged_at": note.acknowledged_at.ToDatetime(dt.UTC),
        "expires_at": note.expires_at.ToDatetime(dt.UTC),
        "state": state,
        "withdrawn_by": known.withdrawn_by,
        "withdrawn_at": withdrawn_at,
    }
    shown = {
        "acknowledgement_id": known.acknowledgement_id[:TELLING],
        "check": title(known.check_name, texts),
        "finding": texts.sentence(known.finding),
        "machines": ", ".join(known.hostnames) or texts.say("acknowledgements.all_machines"),
        "acknowledged_at": when_in_column(note.acknowledged_at),
        "expires_at": when_in_column(note.expires_at),
        "state": texts.say(f"acknowledgement_state.{state}"),
    }
    return Row(values=values, shown=shown)
