"""[schedule] of the configuration: how often a suite runs, or when, and whether the collector may say so too.

[schedule]
from = "both"              # "local": this file alone; "collector": the collector alone; "both" by default
[schedule.quick]
every = "24h"              # from one start to the next; "never": on command alone
[schedule.bench]
at = "0 3 * * 1-5"         # minute, hour, day of the month, month, day of the week; local time
splay = "30m"              # each start up to this much later, always the same on one machine; 10m by default
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llmenv.cron import Cron, parse_cron

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmenv_agent.toml_document import Document

BOTH, LOCAL, COLLECTOR = SOURCES = ("both", "local", "collector")
_SOURCE_KEY = "from"
SHORTEST_SECONDS = 60.0
_DAY_SECONDS = 86_400.0
_SPLAY_SECONDS = 600.0
_NEVER = "never"


@dataclass(frozen=True, kw_only=True)
class ScheduleSettings:
    """A suite runs `at` the times of a cron expression, or else every `every_seconds`.

    It starts up to `splay_seconds` later. `name` and `schedule_id` are those of a schedule of the collector,
    `known_since` (Unix seconds) is when it was first heard of; all three are empty for one of the file.
    `times_since` is since when its present times are known.
    """

    suite: str
    every_seconds: float = _DAY_SECONDS
    at: Cron | None = None
    splay_seconds: float = _SPLAY_SECONDS
    regardless_of_use: bool = False
    name: str = ""
    schedule_id: str = ""
    known_since: float | None = None
    times_since: float | None = None

    @property
    def key(self) -> str:
        """Its last start is remembered under this: no suite has such a name as one of the collector's."""
        return f"collector:{self.name}" if self.schedule_id else self.suite

    @property
    def shown_name(self) -> str:
        """As records name it."""
        return self.name or self.suite

    def is_as(self, former: ScheduleSettings | None) -> bool:
        """Nothing was set anew since `former`."""
        if former is None:
            return False
        same = self == replace(former, times_since=self.times_since)
        return same or (bool(self.schedule_id) and self.schedule_id == former.schedule_id)

    @property
    def is_on_demand(self) -> bool:
        """It has no times: commands alone start it."""
        return self.at is None and math.isinf(self.every_seconds)


DAILY_QUICK = ScheduleSettings(suite="quick")


def suite_tables(document: Document, content: Mapping[str, Any]) -> dict[str, Any]:
    """[schedule.SUITE] by suite."""
    tables = document.table(content, "schedule")
    return {key: table for key, table in tables.items() if key != _SOURCE_KEY}


def parse_source(document: Document, content: Mapping[str, Any]) -> str:
    """One of SOURCES. Raises UsageError with file and line."""
    where = ("schedule", _SOURCE_KEY)
    source = document.one_of(document.table(content, "schedule"), where, SOURCES) or BOTH
    if source == COLLECTOR and (tables := suite_tables(document, content)):
        suite = next(iter(tables))
        raise document.error(
            ("schedule", suite), 'stands beside from = "collector", by which it never counts'
        )
    return source


def parse_schedules(document: Document, content: Mapping[str, Any]) -> tuple[ScheduleSettings, ...]:
    """Those of the file. Raises UsageError with file and line."""
    tables = suite_tables(document, content)
    return tuple(_schedule(document, suite, tables) for suite in tables)


def _schedule(document: Document, suite: str, tables: Mapping[str, Any]) -> ScheduleSettings:
    table = document.table(tables, suite, below="schedule")
    where = ("schedule", suite)
    document.allow(table, where, {"every", "at", "splay"})
    if "every" in table and "at" in table:
        raise document.error((*where, "at"), "stands beside every; give one of them")
    every = _every(document, table, (*where, "every"))
    if every < SHORTEST_SECONDS:
        raise document.error((*where, "every"), "must be a minute or more")
    return ScheduleSettings(
        suite=suite,
        every_seconds=every,
        at=_cron(document, table, (*where, "at")),
        splay_seconds=document.duration(table, (*where, "splay"), default=_SPLAY_SECONDS),
    )


def _every(document: Document, table: Mapping[str, Any], where: tuple[str, ...]) -> float:
    if document.text(table, where) == _NEVER:
        return math.inf
    return document.duration(table, where, default=_DAY_SECONDS)


def _cron(document: Document, table: Mapping[str, Any], where: tuple[str, ...]) -> Cron | None:
    expression = document.text(table, where)
    try:
        return parse_cron(expression) if expression else None
    except ValueError as error:
        raise document.error(where, f"cannot be read: {error}") from error
