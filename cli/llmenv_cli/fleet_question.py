"""What a fleet report is asked: the options of the command line as a request, each bad value a sentence."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

from llmenv_cli.errors import UsageError
from llmenv_cli.requirements_file import NAME, normalised

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from llmenv.fleet.v1.fleet_report_pb2 import GetFleetReportRequest

    from llmenv_cli.requirements_file import WantedVersion

AXES = ("machine", "chip", "package", "macos", "check")
RELEASE = re.compile(rf"({NAME})\s*==\s*([\w.!+-]+)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """As people gave it. `since` is None for the default, "all" has no begin."""

    by: str | None = None
    package: str = ""
    baseline: str = ""
    candidate: str = ""
    where: str = ""
    since: dt.timedelta | None = None
    is_whole_history: bool = False
    as_of: dt.datetime | None = None
    checks: tuple[str, ...] = ()
    chip: str = ""
    pins: Sequence[WantedVersion] = ()
    minimum_effect: float = 0.0
    false_discovery_rate: float = 0.0
    explain: bool = False


def report_request(question: Question, *, now: dt.datetime) -> GetFleetReportRequest:
    """Raises UsageError for versions that do not go together."""
    from llmenv.fleet.v1 import fleet_report_pb2 as messages

    package, baseline, candidate = _versions(question)
    request = messages.GetFleetReportRequest(
        where=question.where,
        checks=question.checks,
        by=messages.Axis.Value(f"AXIS_{question.by.upper()}") if question.by else messages.AXIS_UNSPECIFIED,
        package=package,
        baseline=baseline,
        candidate=candidate,
        reference_chip=question.chip,
        pins=[messages.Pin(package=pin.package, specifier=pin.specifier) for pin in question.pins],
        minimum_effect=question.minimum_effect,
        false_discovery_rate=question.false_discovery_rate,
        explain=question.explain,
    )
    if question.as_of is not None:
        request.as_of.FromDatetime(question.as_of)
    if question.is_whole_history:
        request.since.SetInParent()
    elif question.since is not None:
        request.since.FromDatetime((question.as_of or now) - question.since)
    return request


def release(text: str) -> tuple[str, str]:
    """Name and version of "torch==2.11.0"; ValueError for other text."""
    match = RELEASE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no version such as torch==2.11.0.")
    return normalised(match[1]), match[2]


def percentage(text: str) -> float:
    """The share of "3%"; ValueError for what is none above 0 and below 100."""
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,6})?)\s*%", text.strip())
    share = float(match[1]) / 100 if match is not None else 0.0
    if not 0 < share < 1:
        raise ValueError(f"{text!r} is no percentage above 0% and below 100%, such as 3%.")
    return share


def _versions(question: Question) -> tuple[str, str, str]:
    """Package, baseline and candidate, all of one package."""
    package = normalised(question.package)
    sides = [release(text) if text else None for text in (question.baseline, question.candidate)]
    named = {side[0] for side in sides if side is not None} | ({package} if package else set())
    if len(named) > 1:
        listed = ", ".join(sorted(named))
        raise UsageError(f"Versions are compared of one package, and these are several: {listed}.")
    if question.baseline and sides[0] == sides[1]:
        raise UsageError("Baseline and candidate are the same version.")
    baseline, candidate = (f"{side[0]}=={side[1]}" if side is not None else "" for side in sides)
    return package, baseline, candidate
