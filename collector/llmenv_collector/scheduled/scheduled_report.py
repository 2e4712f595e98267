"""A [[report]] of collector.toml: what is asked, when it is due, and where it goes."""

from __future__ import annotations

import datetime as dt
import math
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv.catalog.texts import LANGUAGES
from llmenv.cron import Cron, parse_cron
from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector import clock
from llmenv_collector.errors import UsageError
from llmenv_collector.fleet_report.question import question_of
from llmenv_collector.notices.webhook import REPORT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from llmenv_collector.notices.webhook import Webhook
    from llmenv_collector.toml_table import Table

KEYS = (
    "name",
    "cron",
    "every",
    "format",
    "language",
    "folder",
    "keep",
    "webhook",
    "where",
    "checks",
    "since",
    "by",
    "package",
    "baseline",
    "candidate",
    "chip",
    "pins",
    "min_effect",
    "fdr",
    "explain",
)
FORMATS = ("html", "json")
"""What the collector renders by itself; the other formats are the CLI's."""
AXES = ("machine", "chip", "package", "macos", "check")
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
SHORTEST_SECONDS = 60
MOST_KEPT = 10_000


@dataclass(frozen=True, kw_only=True)
class ScheduledReport:
    name: str
    cron: Cron | None
    every_seconds: int = 0
    """Without cron: at each multiple of it since 1970, UTC."""
    format: str = "html"
    language: str = "en"
    folder: Path | None = None
    keep: int = 30
    """Of the files in the folder that are this report's, so many of the newest."""
    webhook: str = ""
    since_seconds: int = 0
    """Before the time it is made; 0 for the report's own default, -1 for the whole history."""
    asked: messages.GetFleetReportRequest
    """Without its period."""

    def next_after(self, moment: float) -> float:
        """When it is due next, Unix seconds."""
        if self.cron is not None:
            return self.cron.next_after(moment)
        return (math.floor(moment / self.every_seconds) + 1) * float(self.every_seconds)

    def request(self, *, now: int) -> messages.GetFleetReportRequest:
        """As it is asked at a time, microseconds since 1970."""
        asked = messages.GetFleetReportRequest()
        asked.CopyFrom(self.asked)
        if self.since_seconds < 0:
            asked.since.SetInParent()
        elif self.since_seconds:
            asked.since.FromMicroseconds(now - self.since_seconds * clock.MICROSECONDS)
        return asked

    @property
    def target(self) -> str:
        """Where it goes, for people."""
        return str(self.folder.resolve()) if self.folder is not None else f"webhook {self.webhook}"

    @property
    def when(self) -> str:
        """For people."""
        return self.cron.expression if self.cron is not None else f"every {length_text(self.every_seconds)}"


def reports_of(tables: Sequence[Table], webhooks: Mapping[str, Webhook]) -> tuple[ScheduledReport, ...]:
    """Raises UsageError, one sentence for the first mistake."""
    return tuple(report_of(table, webhooks) for table in tables)


def report_of(table: Table, webhooks: Mapping[str, Webhook]) -> ScheduledReport:
    table.require_known(KEYS)
    if ("cron" in table.values) == ("every" in table.values):
        raise table.error("cron", "say when it is made: by `cron` or by `every`, and by one of them.")
    if ("folder" in table.values) == ("webhook" in table.values):
        raise table.error(
            "folder", "say where it goes: into a `folder` or to a `webhook`, and to one of them."
        )
    return ScheduledReport(
        name=table.name,
        cron=cron_of(table),
        every_seconds=every_of(table),
        format=table.one_of("format", FORMATS, "html"),
        language=table.one_of("language", LANGUAGES, "en"),
        folder=folder_of(table),
        keep=int(table.number("keep", 30, least=1, most=MOST_KEPT)),
        webhook=webhook_of(table, webhooks),
        since_seconds=since_of(table),
        asked=asked_of(table),
    )


def cron_of(table: Table) -> Cron | None:
    text = table.text("cron", "")
    if "cron" not in table.values:
        return None
    try:
        return parse_cron(text)
    except ValueError as error:
        raise table.error("cron", f"{error}.") from error


def every_of(table: Table) -> int:
    """Seconds; 0 where it goes by cron."""
    if "every" not in table.values:
        return 0
    seconds = length_of(table, "every")
    if seconds < SHORTEST_SECONDS:
        raise table.error("every", f"it is {SHORTEST_SECONDS}s or longer, not {table.text('every')!r}.")
    return seconds


def since_of(table: Table) -> int:
    """As ScheduledReport has it."""
    if "since" not in table.values:
        return 0
    return -1 if table.text("since") == "all" else length_of(table, "since")


def length_of(table: Table, key: str) -> int:
    text = table.text(key)
    match = re.fullmatch(r"([1-9]\d{0,4})([smhdw])", text)
    if match is None:
        raise table.error(key, f"{text!r} is no length of time such as 30d, 12h or 2w.")
    return int(match[1]) * UNITS[match[2]]


def folder_of(table: Table) -> Path | None:
    """Relative to the folder of collector.toml; it has to be there, and to be written to."""
    text = table.text("folder", "")
    if "folder" not in table.values:
        return None
    folder = table.file.parent / text
    if not folder.is_dir():
        raise table.error("folder", f"there is no folder {folder}.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise table.error("folder", f"the collector may not write to {folder}.")
    return folder


def webhook_of(table: Table, webhooks: Mapping[str, Webhook]) -> str:
    name = table.text("webhook", "")
    if "webhook" not in table.values:
        return ""
    if name not in webhooks:
        raise table.error(
            "webhook", f"there is no webhook {name!r}; there are: {', '.join(webhooks) or 'none'}."
        )
    if REPORT not in webhooks[name].kinds:
        raise table.error("webhook", f"the kinds of {name!r} do not hold {REPORT!r}.")
    if webhooks[name].body == "text":
        raise table.error("webhook", f"{name!r} is told one text a notice, and a report is longer.")
    return name


def asked_of(table: Table) -> messages.GetFleetReportRequest:
    """What `llmenv fleet report` would ask with the same options."""
    by = table.one_of("by", AXES) if "by" in table.values else ""
    explain = table.values.get("explain", False)
    if not isinstance(explain, bool):
        raise table.error("explain", f"it is true or false, not {explain!r}.")
    asked = messages.GetFleetReportRequest(
        where=table.text("where", ""),
        checks=table.texts("checks"),
        by=messages.Axis.Value(f"AXIS_{by.upper()}") if by else messages.AXIS_UNSPECIFIED,
        package=table.text("package", ""),
        baseline=table.text("baseline", ""),
        candidate=table.text("candidate", ""),
        reference_chip=table.text("chip", ""),
        pins=[pin_of(table, text) for text in table.texts("pins")],
        minimum_effect=share_of(table, "min_effect"),
        false_discovery_rate=share_of(table, "fdr"),
        explain=explain,
    )
    try:
        question_of(asked)
    except UsageError as error:
        raise table.error("name", str(error)) from error
    return asked


def pin_of(table: Table, text: str) -> messages.Pin:
    """As a requirement is written: torch==2.11.0, mlx>=0.24."""
    match = re.fullmatch(r"\s*([A-Za-z0-9][\w.-]*)\s*([=<>!~].*)", text)
    if match is None:
        raise table.error("pins", f"{text!r} is no requirement such as torch==2.11.0.")
    return messages.Pin(package=match[1], specifier=match[2].strip())


def share_of(table: Table, key: str) -> float:
    """0 for the default."""
    text = table.text(key, "")
    if key not in table.values:
        return 0.0
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,6})?)\s*%", text.strip())
    share = float(match[1]) / 100 if match is not None else 0.0
    if not 0 < share < 1:
        raise table.error(key, f"{text!r} is no percentage above 0% and below 100%, such as 3%.")
    return share


def length_text(seconds: int) -> str:
    """In the largest unit that it is a multiple of."""
    unit = next(one for one in reversed(UNITS) if seconds % UNITS[one] == 0)
    return f"{seconds // UNITS[unit]}{unit}"


def moment_of(seconds: float) -> str:
    """Local time with its distance from UTC, as the cron expressions mean it."""
    return dt.datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="minutes")
