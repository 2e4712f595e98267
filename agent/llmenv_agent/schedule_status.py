"""What starts at set times on this machine, by whose word, and when: for `llmenv-agent status`."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from llmenv_agent.collector_schedules import FILE_NAME, CollectorSchedules
from llmenv_agent.own_times import FILE_NAME as OWN_TIMES
from llmenv_agent.own_times import OwnTimes
from llmenv_agent.repertoire import read_repertoire
from llmenv_agent.schedule import FILE_NAME as STARTS
from llmenv_agent.schedule import Schedule
from llmenv_agent.schedule_plan import SET_ASIDE, plan

if TYPE_CHECKING:
    from llmenv.fleet.v1 import agent_service_pb2, record_pb2

    from llmenv_agent.configuration import Configuration
    from llmenv_agent.schedule_plan import Planned


BY = {"collector": "the collector's", "configuration": "agent.toml's", "default": "by default"}


def scheduled(configuration: Configuration, *, machine_id: str) -> list[dict[str, Any]]:
    """What counts, then the collector's that do not, each with the reason."""
    directory = configuration.state_dir
    told = CollectorSchedules(directory / FILE_NAME, machine_id=machine_id)
    planned = plan(
        configuration, read_repertoire(configuration.checks_folders, configuration.suites), told.held
    )
    schedule = Schedule(
        OwnTimes(directory / OWN_TIMES).dated(planned.settings),
        path=directory / STARTS,
        machine_id=machine_id,
    )
    own = "configuration" if configuration.schedules else "default"
    counting = [_counting(key, each, schedule, own=own) for key, each in planned.planned.items()]
    at_hand = {each.settings.schedule_id for each in planned.planned.values()}
    left = [each for each in planned.standings if each.schedule_id not in at_hand]
    said = {each.schedule.schedule_id: each.schedule for each in told.held}
    return [*counting, *(_left(each, said[each.schedule_id]) for each in left)]


def line(row: dict[str, Any]) -> str:
    """One schedule as people read it."""
    by = BY[row["from"]]
    if row["state"] != "in_force":
        return f"{row['name']}, {by}: {row['state'].replace('_', ' ')}: {row['reason']}"
    times = f'at "{row["at"]}"' if row["at"] else f"every {_spoken(row['every_seconds'])}"
    last = row["last_started_at"] or "never"
    return f"{row['name']}, {by}: {row['runs']}, {times}; last {last}, next {row['next_at']}"


def _counting(key: str, planned: Planned, schedule: Schedule, *, own: str) -> dict[str, Any]:
    settings, started = planned.settings, schedule.started_at(key)
    return {
        "name": settings.shown_name,
        "from": "collector" if settings.schedule_id else own,
        "schedule_id": settings.schedule_id,
        "runs": _what(planned),
        "every_seconds": None if settings.at else settings.every_seconds,
        "at": settings.at.expression if settings.at else "",
        "splay_seconds": settings.splay_seconds,
        "last_started_at": None if started is None else _time(started),
        "next_at": _time(schedule.next_at(key)),
        "state": "in_force",
        "reason": "",
    }


def _left(standing: record_pb2.ScheduleChange, said: agent_service_pb2.Schedule) -> dict[str, Any]:
    return {
        "name": standing.schedule_name,
        "from": "collector",
        "schedule_id": standing.schedule_id,
        "runs": said.run_checks.suite or ", ".join(said.run_checks.checks),
        "every_seconds": said.every_seconds or None,
        "at": said.at,
        "splay_seconds": said.run_checks.splay_seconds,
        "last_started_at": None,
        "next_at": None,
        "state": "set_aside" if standing.state == SET_ASIDE else "refused",
        "reason": standing.reason,
    }


def _what(planned: Planned) -> str:
    """The suite, or the checks that were named."""
    suite = planned.as_asked.suite
    is_named = bool(planned.settings.schedule_id) and suite.name == "custom"
    return ", ".join(each.name for each in suite.definitions) if is_named else suite.name


def _time(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")


def _spoken(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"
