"""Which versions are compared with which."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv.catalog.packages import WATCHED

from llmenv_collector.fleet_report.versions import MACOS, in_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from llmenv_collector.fleet_report.question import Release

AXES = (*WATCHED, MACOS)


@dataclass(frozen=True)
class Step:
    """One version against another of the same package."""

    package: str
    baseline: str
    candidate: str


@dataclass(frozen=True)
class Wanted:
    """Which steps were asked for; empty: each version against the one before it."""

    packages: tuple[str, ...] = ()
    baseline: Release | None = None
    candidate: Release | None = None
    confidence: float = 0.95
    against_all: bool = False
    """Whether the candidate is compared with every other version, not only with the one before it."""

    @property
    def axes(self) -> tuple[str, ...]:
        named = [release.package for release in (self.baseline, self.candidate) if release is not None]
        chosen = tuple(dict.fromkeys((*self.packages, *named)))
        return chosen or AXES


def versions_by_context(contexts: Sequence[Mapping[str, str]], package: str) -> list[str]:
    """Empty where it is not installed."""
    return [context.get(package, "") for context in contexts]


def steps(package: str, versions: set[str], wanted: Wanted) -> Iterator[Step]:
    """Those that were asked for, of the versions that there are."""
    ordered = in_order(versions - {""})
    baseline = wanted.baseline.version if wanted.baseline and wanted.baseline.package == package else ""
    candidate = wanted.candidate.version if wanted.candidate and wanted.candidate.package == package else ""
    if candidate and wanted.against_all and not baseline:
        yield from (Step(package, other, candidate) for other in ordered if other != candidate)
    elif baseline:
        others = [candidate] if candidate else [one for one in ordered if one != baseline]
        yield from (Step(package, baseline, other) for other in others)
    else:
        pairs = itertools.pairwise(ordered)
        yield from (Step(package, old, new) for old, new in pairs if candidate in {"", new})
