"""What starts at set times here: by the configuration and by the collector, with one rule of precedence.

- `from = "both"`: both count. Of a suite that the file gives times, the file's hold and the collector's are
  set aside; "never" is such a time.
- `from = "local"`: the file alone.  `from = "collector"`: the collector alone.
- Where nothing is scheduled so, the suite quick runs every day.

What the collector says and this agent cannot run is refused, with the reason, and the rest counts.
"""

from __future__ import annotations

import dataclasses
import math
import threading
from typing import TYPE_CHECKING

from llmenv.cron import parse_cron
from llmenv.fleet.v1 import record_pb2

from llmenv_agent.asked_run import request_of
from llmenv_agent.errors import AgentError, UsageError
from llmenv_agent.schedule_settings import (
    COLLECTOR,
    DAILY_QUICK,
    LOCAL,
    SHORTEST_SECONDS,
    ScheduleSettings,
)
from llmenv_agent.work import Request

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llmenv_agent.collector_schedules import HeldSchedule
    from llmenv_agent.configuration import Configuration
    from llmenv_agent.repertoire import Repertoire

IN_FORCE = record_pb2.ScheduleChange.STATE_IN_FORCE
SET_ASIDE = record_pb2.ScheduleChange.STATE_SET_ASIDE
REFUSED = record_pb2.ScheduleChange.STATE_REFUSED
LOCAL_ALONE = 'agent.toml has from = "local" under [schedule]'
LOCAL_SUITE = "agent.toml has [schedule.{suite}]"
NO_TIMES = (
    "It has no times that this agent knows, neither times of day nor an interval of a minute or more: "
    "a newer agent may know them."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planned:
    """Times, and what starts at them."""

    settings: ScheduleSettings
    as_asked: Request

    def request(self) -> Request:
        """One start: it is cancelled for itself."""
        return dataclasses.replace(self.as_asked, cancelled=threading.Event())


@dataclasses.dataclass(frozen=True)
class Plan:
    """`planned` by key; `standings` has a word on each schedule of the collector."""

    planned: Mapping[str, Planned]
    standings: tuple[record_pb2.ScheduleChange, ...] = ()

    @property
    def settings(self) -> list[ScheduleSettings]:
        return [each.settings for each in self.planned.values()]


def plan(configuration: Configuration, repertoire: Repertoire, held: Iterable[HeldSchedule]) -> Plan:
    """Raises UsageError for a schedule of the configuration that cannot be run."""
    local = {each.suite for each in configuration.schedules}
    planned = [] if configuration.schedules_from == COLLECTOR else _of_the_file(configuration, repertoire)
    standings = []
    for each in held:
        standing, accepted = _weigh(each, repertoire, source=configuration.schedules_from, local=local)
        standings.append(standing)
        planned += [accepted] if accepted else []
    if not planned and not local:
        planned = [_daily_quick(repertoire)]
    return Plan(
        {each.settings.key: each for each in planned if not each.settings.is_on_demand}, tuple(standings)
    )


def standing(
    each: HeldSchedule, state: record_pb2.ScheduleChange.State.ValueType, reason: str = ""
) -> record_pb2.ScheduleChange:
    return record_pb2.ScheduleChange(
        schedule_id=each.schedule.schedule_id, schedule_name=each.schedule.name, state=state, reason=reason
    )


def _weigh(
    each: HeldSchedule, repertoire: Repertoire, *, source: str, local: set[str]
) -> tuple[record_pb2.ScheduleChange, Planned | None]:
    suite = each.schedule.run_checks.suite
    if source == LOCAL:
        return standing(each, SET_ASIDE, LOCAL_ALONE), None
    if suite in local:
        return standing(each, SET_ASIDE, LOCAL_SUITE.format(suite=suite)), None
    try:
        return standing(each, IN_FORCE), _of_the_collector(each, repertoire)
    except (AgentError, ValueError) as error:
        return standing(each, REFUSED, str(error)), None


def _of_the_collector(each: HeldSchedule, repertoire: Repertoire) -> Planned:
    said = each.schedule
    if not said.at and not SHORTEST_SECONDS <= said.every_seconds < math.inf:
        raise UsageError(NO_TIMES)
    request = request_of(said.run_checks, repertoire, schedule_name=said.name, schedule_id=said.schedule_id)
    settings = ScheduleSettings(
        suite=request.suite.name,
        every_seconds=said.every_seconds,
        at=parse_cron(said.at) if said.at else None,
        splay_seconds=said.run_checks.splay_seconds,
        regardless_of_use=said.run_checks.regardless_of_use,
        name=said.name,
        schedule_id=said.schedule_id,
        known_since=each.known_since,
        times_since=each.times_since,
    )
    return Planned(settings=settings, as_asked=request)


def _of_the_file(configuration: Configuration, repertoire: Repertoire) -> list[Planned]:
    return [_local(each, repertoire) for each in configuration.schedules]


def _daily_quick(repertoire: Repertoire) -> Planned:
    return _local(DAILY_QUICK, repertoire)


def _local(settings: ScheduleSettings, repertoire: Repertoire) -> Planned:
    request = Request(suite=repertoire.suite(settings.suite), schedule_name=settings.suite)
    return Planned(settings=settings, as_asked=request)
