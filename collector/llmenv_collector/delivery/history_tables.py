"""The rows of what else happens on a machine: commands, waits, schedules, quarantines, dropped records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.fleet.v1 import record_pb2

from llmenv_collector.delivery.fields import word
from llmenv_collector.delivery.messages import named
from llmenv_collector.delivery.run_tables import none_if_empty

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from llmenv_collector.delivery.messages import Messages


def of_command_outcome(outcome: Messages) -> Iterator[tuple[str, pa.Table]]:
    yield (
        "command_outcome",
        outcome.keyed("record_id", "machine_id", "measured_at").table(
            **outcome.values("command_id", "reason"),
            state=states(outcome, record_pb2.CommandOutcome.State),
            run_id=none_if_empty(outcome.value("run_id")),
        ),
    )


def of_suite_waited(waited: Messages) -> Iterator[tuple[str, pa.Table]]:
    yield (
        "suite_wait",
        waited.keyed("record_id", "machine_id", "measured_at").table(
            **waited.values("suite", "waited_seconds", "is_given_up", "schedule_name"),
            reason=waited.value("reason.text"),
            due_at=waited.field("due_at"),
        ),
    )


def of_schedule_change(change: Messages) -> Iterator[tuple[str, pa.Table]]:
    yield (
        "schedule_change",
        change.keyed("record_id", "machine_id", "sequence", "measured_at").table(
            **change.values("schedule_id", "schedule_name", "reason"),
            state=states(change, record_pb2.ScheduleChange.State),
        ),
    )


def of_quarantine_change(change: Messages) -> Iterator[tuple[str, pa.Table]]:
    yield (
        "quarantine_change",
        change.keyed("record_id", "machine_id", "sequence", "measured_at").table(
            **change.values("check_name", "environment_name", "is_quarantined"),
            reason=change.value("reason.text"),
            until=change.field("until"),
        ),
    )


def of_tombstone(tombstone: Messages) -> Iterator[tuple[str, pa.Table]]:
    names = ("first_sequence", "last_sequence", "dropped_records", "reason")
    yield (
        "tombstone",
        tombstone.keyed("record_id", "machine_id", "spool_id").table(**tombstone.values(*names)),
    )


def of_spool_forked(_forked: Messages) -> Iterator[tuple[str, pa.Table]]:
    """It is kept with the watermark of its spool."""
    return iter(())


def states(said: Messages, enum: object) -> pa.Array:
    return named(said.value("state"), lambda number: word(enum, "STATE_", number))
