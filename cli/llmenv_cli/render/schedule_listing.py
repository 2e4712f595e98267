"""Schedules as rows: what runs when and on which machines; and what each machine makes of one."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING

from llmenv.fleet.v1.record_pb2 import ScheduleChange

from llmenv_cli.command_request import described
from llmenv_cli.render.listing import Field, Listing, Row
from llmenv_cli.render.sections.wording import when_in_column

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.agent_service_pb2 import Schedule
    from llmenv.fleet.v1.fleet_service_pb2 import FleetSchedule, MachineSelection, ScheduledMachine

    from llmenv_cli.render.listing import Value

SCHEDULES = (
    "schedule_name",
    "schedule_id",
    "asked",
    "every_seconds",
    "at",
    "times",
    "splay",
    "for_whom",
    "machine_states",
    "set_at",
    "set_by",
    "trouble",
)
FOR_PROGRAMS = frozenset({"schedule_id", "every_seconds", "at", "trouble"})
MACHINES = (
    "machine_id",
    "hostname",
    "connected",
    "state",
    "reason",
    "in_state_since",
    "scheduled_runs",
    "last_run_at",
    "last_run_id",
)
UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"))


def schedules_listing(found: Iterable[FleetSchedule], texts: Texts) -> Listing:
    """A row a schedule."""
    return Listing(
        fields=_fields(SCHEDULES, texts), rows=[_schedule(one, texts) for one in found], hidden=FOR_PROGRAMS
    )


def machines_listing(one: FleetSchedule, texts: Texts) -> Listing:
    """A row a machine of a schedule."""
    return Listing(
        fields=_fields(MACHINES, texts),
        rows=[_machine(machine, texts) for machine in one.machines],
        hidden=frozenset({"machine_id", "last_run_id"}),
    )


def _fields(keys: Sequence[str], texts: Texts) -> list[Field]:
    return [
        Field(
            key=key,
            title=texts.say(f"column.{key}"),
            is_number=key == "scheduled_runs",
            wraps=key in {"asked", "for_whom", "machine_states", "reason"},
            is_optional=key in {"set_at", "set_by", "splay", "reason", "in_state_since", "last_run_at"},
        )
        for key in keys
    ]


def _schedule(one: FleetSchedule, texts: Texts) -> Row:
    said = one.schedule
    counts = Counter(state_word(machine.state) for machine in one.machines)
    values: dict[str, Value] = {
        "schedule_name": said.name,
        "schedule_id": said.schedule_id,
        "asked": described(said.run_checks),
        "every_seconds": said.every_seconds or None,
        "at": said.at,
        "times": said.at or duration(said.every_seconds),
        "splay": duration(said.run_checks.splay_seconds),
        "for_whom": whom(one.selection, machines={each.machine_id: each.hostname for each in one.machines}),
        "machine_states": ", ".join(f"{word} {count}" for word, count in sorted(counts.items())),
        "set_at": one.set_at.ToDatetime(dt.UTC),
        "set_by": one.set_by,
        "trouble": one.trouble,
    }
    states = (f"{texts.say(f'schedule_state.{word}')} {count}" for word, count in sorted(counts.items()))
    shown = {
        "times": times(said, texts),
        "for_whom": texts.say("schedules.all") if one.selection.all else str(values["for_whom"]),
        "machine_states": texts.say("word.list_separator").join(states) or texts.say("schedules.nobody"),
        "set_at": when_in_column(one.set_at),
    }
    return Row(values=values, shown=shown)


def _machine(one: ScheduledMachine, texts: Texts) -> Row:
    last = one.last_run_at if one.HasField("last_run_at") else None
    said = one.said_at if one.HasField("said_at") else None
    values: dict[str, Value] = {
        "machine_id": one.machine_id,
        "hostname": one.hostname,
        "connected": one.is_connected,
        "state": state_word(one.state),
        "reason": one.reason,
        "in_state_since": said.ToDatetime(dt.UTC) if said else None,
        "scheduled_runs": one.runs,
        "last_run_at": last.ToDatetime(dt.UTC) if last else None,
        "last_run_id": one.last_run_id,
    }
    shown = {
        "connected": texts.say(f"word.{'mark_yes' if one.is_connected else 'mark_neither'}"),
        "state": texts.say(f"schedule_state.{values['state']}"),
        "reason": texts.phrase(one.reason),
        "in_state_since": when_in_column(said) if said else "",
        "last_run_at": when_in_column(last) if last else "",
    }
    return Row(values=values, shown=shown)


def state_word(state: ScheduleChange.State.ValueType) -> str:
    """Such as "in_force"; "not_said" before the machine has said anything."""
    if not state or state not in ScheduleChange.State.values():
        return "not_said"
    return ScheduleChange.State.Name(state).removeprefix("STATE_").lower()


def times(said: Schedule, texts: Texts) -> str:
    if said.at:
        return texts.say("schedules.at", cron=said.at)
    return texts.say("schedules.every", time=duration(said.every_seconds))


def whom(selection: MachineSelection, *, machines: dict[str, str]) -> str:
    """As it was asked for: "all", names, labels and the condition."""
    if selection.all:
        return "all"
    parts = [machines.get(each, each) for each in selection.machines] + list(selection.labels)
    return ", ".join([*parts, *([selection.where] if selection.where else [])])


def duration(seconds: float) -> str:
    """Such as "12h": as it is written for --every."""
    for size, unit in UNITS:
        if seconds and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"
