"""What was asked of a report, in the collector's own terms."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector import clock
from llmenv_collector.errors import UsageError
from llmenv_collector.fleet_report.period import DAY_MICROSECONDS, DEFAULT_DAYS, Period
from llmenv_collector.fleet_report.specifier import SpecifierError, clauses_of
from llmenv_collector.identity.standing import EVERYBODY_ENROLLED, Standing

if TYPE_CHECKING:
    from collections.abc import Collection

CONFIDENCE = 0.95
MINIMUM_EFFECT = 0.03
FALSE_DISCOVERY_RATE = 0.05

SECTIONS = {
    "health": {messages.AXIS_MACHINE},
    "chips": {messages.AXIS_CHIP},
    "packages": {messages.AXIS_PACKAGE},
    "findings": {messages.AXIS_CHECK},
    "flaky": {messages.AXIS_CHECK},
    "effects": {messages.AXIS_PACKAGE, messages.AXIS_MACOS},
    "verdict_effects": {messages.AXIS_PACKAGE, messages.AXIS_MACOS},
    "outliers": {messages.AXIS_MACHINE},
    "unsteady": {messages.AXIS_MACHINE},
    "changes": {messages.AXIS_MACHINE},
    "verdict_changes": {messages.AXIS_MACHINE},
    "exposures": {messages.AXIS_PACKAGE},
    "drifts": {messages.AXIS_PACKAGE},
}
"""By field of the response: the axes along which it compares.  Coverage and method are in every report."""
OF_MEASUREMENTS = frozenset({"chips", "effects", "outliers", "unsteady", "changes"})


@dataclass(frozen=True)
class Release:
    """One version of one package: "torch==2.10.0"."""

    package: str
    version: str


@dataclass(frozen=True)
class Pin:
    """What is wanted of one package; the specifier is as a requirement states it."""

    package: str
    specifier: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """How to compare what the period holds."""

    by: messages.Axis.ValueType = messages.AXIS_UNSPECIFIED
    package: str = ""
    """Effects of this one only, or of "macos"; empty for all that are watched."""
    baseline: Release | None = None
    candidate: Release | None = None
    reference_chip: str = ""
    pins: tuple[Pin, ...] = ()
    confidence: float = CONFIDENCE
    minimum_effect: float = MINIMUM_EFFECT
    false_discovery_rate: float = FALSE_DISCOVERY_RATE
    explain: bool = False

    @property
    def sections(self) -> frozenset[str]:
        """Fields of the response that were asked for."""
        return frozenset(
            name for name, axes in SECTIONS.items() if self.by == messages.AXIS_UNSPECIFIED or self.by in axes
        )

    @property
    def needs_measurements(self) -> bool:
        return bool(self.sections & OF_MEASUREMENTS)


def question_of(request: messages.GetFleetReportRequest) -> Question:
    """Raises UsageError for what cannot be compared in this way."""
    if request.by not in messages.Axis.values():
        raise UsageError(f"A report is by machine, chip, package, macos or check, not by {request.by}.")
    if not 0 <= request.minimum_effect < 1:
        raise UsageError(
            "The smallest effect that matters is a share from 0 to 1 such as 0.03,"
            f" not {request.minimum_effect:g}."
        )
    if not 0 <= request.false_discovery_rate < 1:
        raise UsageError(
            "The share of noise among differences is from 0 to 1, such as 0.05,"
            f" not {request.false_discovery_rate:g}."
        )
    return Question(
        by=request.by,
        package=normalised(request.package),
        baseline=release_of(request.baseline),
        candidate=release_of(request.candidate),
        reference_chip=request.reference_chip,
        pins=pins_of(request.pins),
        minimum_effect=request.minimum_effect or MINIMUM_EFFECT,
        false_discovery_rate=request.false_discovery_rate or FALSE_DISCOVERY_RATE,
        explain=request.explain,
    )


def normalised(name: str) -> str:
    """As the store has it, whichever way it is written."""
    return re.sub(r"[-_.]+", "-", name).lower()


def release_of(text: str) -> Release | None:
    """Of "torch==2.10.0"; None of nothing."""
    if not text:
        return None
    match = re.fullmatch(r"\s*([A-Za-z0-9][\w.-]*)\s*==\s*([\w.!+-]+)\s*", text)
    if match is None:
        raise UsageError(f"A version is written as in torch==2.11.0, not {text!r}.")
    return Release(normalised(match[1]), match[2])


def pins_of(pins: Collection[messages.Pin]) -> tuple[Pin, ...]:
    """Each package once.  What a requirement leaves open is nothing to hold a version against."""
    pins = [one for one in pins if one.specifier.strip()]
    names = [normalised(one.package) for one in pins]
    for name in names:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
            raise UsageError(f"{name!r} is not the name of a package.")
        if names.count(name) > 1:
            raise UsageError(f"{name} is pinned twice.")
    for name, one in zip(names, pins, strict=True):
        try:
            clauses_of(one.specifier)
        except SpecifierError as error:
            raise UsageError(f"The pin of {name} cannot be used: {error}.") from error
    return tuple(Pin(name, one.specifier.strip()) for name, one in zip(names, pins, strict=True))


def period_of(
    request: messages.GetFleetReportRequest,
    *,
    machines: Collection[str] | None,
    standing: Standing = EVERYBODY_ENROLLED,
) -> Period:
    """Raises UsageError for a period that ends before it begins."""
    is_now = not request.HasField("as_of")
    as_of = clock.now() if is_now else clock.from_timestamp(request.as_of)
    since = as_of - DEFAULT_DAYS * DAY_MICROSECONDS
    if request.HasField("since"):
        since = clock.from_timestamp(request.since)
    if since > as_of:
        raise UsageError("The period begins after it ends: `since` has to be before `as_of`.")
    return Period(
        as_of=as_of,
        since=since,
        machines=None if machines is None else frozenset(machines),
        checks=frozenset(request.checks),
        revoked=standing.barred,
        pending=standing.pending,
        retired=standing.retired,
        is_now=is_now,
        is_default=not request.HasField("since"),
        where=request.where,
    )
