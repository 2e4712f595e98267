"""What the live report is asked: the options of an address as a question, each bad one a sentence."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from llmenv import periods
from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector.errors import UsageError
from llmenv_collector.fleet_report.question import release_of

if TYPE_CHECKING:
    from collections.abc import Sequence

OPTIONS = ("since", "as_of", "by", "package", "baseline", "candidate", "chip", "where", "check")
AXES = ("machine", "chip", "package", "macos", "check")
LONGEST = {"where": 1_000}
LONGEST_NAME = 200
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class ReportQuestion:
    """The options that were given, in the order of OPTIONS; `check` may be given several times."""

    given: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, pairs: Sequence[tuple[str, str]]) -> ReportQuestion:
        """Empty ones are not given, as a form sends them.  Raises UsageError."""
        given = [(name, value) for pair in pairs for name, value in separated(*pair) if name != "lang"]
        for name, value in given:
            require_known(name, value)
        names = [name for name, _ in given if name != "check"]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UsageError(f"The option {twice[0]!r} is given twice.")
        asked = cls(tuple(sorted(set(given), key=lambda pair: (OPTIONS.index(pair[0]), pair[1]))))
        asked.request(now=dt.datetime.now(dt.UTC))
        return asked

    def value(self, name: str) -> str:
        return next((value for key, value in self.given if key == name), "")

    @property
    def checks(self) -> list[str]:
        return [value for key, value in self.given if key == "check"]

    def query(self, **more: str) -> str:
        """As an address has it, with its question mark."""
        return f"?{urlencode([*self.given, *more.items()])}"

    def request(self, *, now: dt.datetime) -> messages.GetFleetReportRequest:
        """Of this moment: a period ends now unless it says otherwise.  Raises UsageError."""
        by = self.value("by")
        asked = messages.GetFleetReportRequest(
            by=messages.Axis.Value(f"AXIS_{by.upper()}") if by else messages.AXIS_UNSPECIFIED,
            reference_chip=self.value("chip"),
            where=self.value("where"),
            checks=self.checks,
        )
        asked.package, asked.baseline, asked.candidate = self._versions()
        try:
            as_of = periods.moment(self.value("as_of"), now=now) if self.value("as_of") else None
            since = self.value("since")
            begin = (as_of or now) - periods.length(since) if since not in {"", "all"} else None
        except (ValueError, OverflowError) as error:
            raise UsageError(str(error)) from error
        if as_of is not None:
            asked.as_of.FromDatetime(as_of)
        if since == "all" or (begin is not None and begin < periods.EARLIEST):
            asked.since.SetInParent()
        elif begin is not None:
            asked.since.FromDatetime(begin)
        return asked

    def _versions(self) -> tuple[str, str, str]:
        """Package, baseline and candidate, all of one package."""
        package, baseline, candidate = (self.value(name) for name in ("package", "baseline", "candidate"))
        if package and NAME.fullmatch(package) is None:
            raise UsageError(f"{package!r} is no name of a package.")
        named = {release.package for text in (baseline, candidate) if (release := release_of(text))}
        if len(named) > 1:
            raise UsageError(f"Versions are compared of one package, not of {' and '.join(sorted(named))}.")
        if baseline and baseline == candidate:
            raise UsageError("Baseline and candidate are the same version.")
        return package, baseline, candidate


def separated(name: str, value: str) -> list[tuple[str, str]]:
    """One field of the form holds several checks; an empty field is not given."""
    values = re.split(r"[,\s]+", value) if name == "check" else [value.strip()]
    return [(name, one) for one in values if one]


def require_known(name: str, value: str) -> None:
    if name not in OPTIONS:
        raise UsageError(f"There is no option {name[:LONGEST_NAME]!r}, only {', '.join(OPTIONS)} and lang.")
    if len(value) > LONGEST.get(name, LONGEST_NAME):
        raise UsageError(f"The option {name!r} is too long.")
    if name == "by" and value not in AXES:
        raise UsageError(f"A report is by {', '.join(AXES[:-1])} or {AXES[-1]}, not by {value!r}.")
