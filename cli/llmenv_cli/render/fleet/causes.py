"""What changed where a figure or a verdict did, with the machines for it and those against it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import CauseRow

KINDS = ("package", "macos", "variable", "definition", "parameters", "conditions")
# The best supported ones; the rest is in `--format json`.
MOST_CAUSES = 2
# Values of parameters are whole JSON objects.
LONGEST_VALUE = 40


def causes(rows: Sequence[CauseRow], texts: Texts) -> str:
    """One sentence; also where nothing that is watched changed."""
    if not rows:
        return texts.say("fleet.no_cause")
    ranked = [supported(row, texts) for row in rows[:MOST_CAUSES]]
    said = texts.say("word.clause_separator").join(ranked)
    if len(rows) > MOST_CAUSES:
        said = texts.say("word.and_more", names=said, count=len(rows) - MOST_CAUSES)
    return texts.say("fleet.causes", causes=said)


def identity(rows: Sequence[CauseRow], *, most: int | None = None) -> tuple[tuple[str, ...], ...]:
    """What tells causes apart, without the evidence."""
    return tuple((row.kind, row.name, row.before, row.after) for row in rows[:most])


def supported(row: CauseRow, texts: Texts) -> str:
    """The change, with the evidence for it and against it."""
    return texts.say(
        "fleet.cause_supported",
        cause=cause(row, texts),
        changed_with=row.changed_with,
        machines_with=row.machines_with,
        changed_without=row.changed_without,
        machines_without=row.machines_without,
    )


def explains(row: CauseRow) -> bool:
    """Whether most machines that got it changed so, several, and more often than those that did not.

    Where every machine got it, nothing tells it from whatever else happened to all of them.
    """
    if row.changed_with < 2 or 2 * row.changed_with < row.machines_with:
        return False
    return row.changed_with * row.machines_without > row.changed_without * row.machines_with


def cause(row: CauseRow, texts: Texts) -> str:
    """Such as "torch 2.10.0 → 2.11.0"."""
    kind = row.kind if row.kind in KINDS else "other"
    name = texts.name_of("condition", row.name) if kind == "conditions" else row.name
    before, after = (_value(value, texts) for value in (row.before, row.after))
    return texts.say(f"cause.{kind}", name=name, before=before, after=after)


def _value(value: str, texts: Texts) -> str:
    if not value:
        return texts.say("cause.absent")
    return value if len(value) <= LONGEST_VALUE else value[: LONGEST_VALUE - 1] + "…"
