"""What is true of a simulated fleet: what a report ought to find, in terms of what it can see.

Machines are named by hostname, times are those of the history, and a change of speed is given as the ratio by
which each measurement's value changes.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class TrueMachine:
    """A machine as its records show it."""

    hostname: str
    machine_id: str
    """As in the history; a collector that enrolled it knows it by another."""
    chip: str
    gpu_cores: int
    memory_bytes: int
    is_portable: bool


@dataclass(frozen=True, kw_only=True)
class Change:
    """A machine had `package` (or macOS) in `version` from `at` on."""

    hostname: str
    at: str
    package: str
    former: str
    version: str


@dataclass(frozen=True, kw_only=True)
class ChangedMeasurement:
    """`ratio` is the new value over the old one: below 1 is slower for rates, faster for seconds."""

    check: str
    case: str
    measurement: str
    ratio: float


@dataclass(frozen=True, kw_only=True)
class TrueRegression:
    """What changes with versions of a package; `hostnames` are those that had one of them."""

    package: str
    versions: tuple[str, ...]
    chips: tuple[str, ...]
    """Empty for all."""
    measurements: tuple[ChangedMeasurement, ...]
    hostnames: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TrueStep:
    """What changed on one machine at a time, or in a check that was defined anew; `hostname` "" for all."""

    hostname: str
    at: str
    measurements: tuple[ChangedMeasurement, ...]


@dataclass(frozen=True, kw_only=True)
class TrueOutlier:
    """A machine whose speed is `factor` times that of its cohort, in every workload."""

    hostname: str
    factor: float


@dataclass(frozen=True, kw_only=True)
class TrueDrift:
    """A machine that grows slower from a time on."""

    hostname: str
    since: str
    loss_per_day: float
    most_lost: float


@dataclass(frozen=True, kw_only=True)
class TrueThrottling:
    """A machine that loses `loss` of its speed within a run, in a share of its runs."""

    hostname: str
    share: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class TrueFlaky:
    """A check that fails now and then with nothing changed."""

    hostname: str
    check: str
    share: float


@dataclass(frozen=True, kw_only=True)
class TrueFailure:
    """A check that fails with versions of a package on chips."""

    package: str
    versions: tuple[str, ...]
    chips: tuple[str, ...]
    check: str
    remedy_id: str
    hostnames: tuple[str, ...]
    """Where it ever failed for that."""


@dataclass(frozen=True, kw_only=True)
class TrueSilence:
    """A machine of which nothing came after a time."""

    hostname: str
    since: str


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Everything planted; what is not named here did not change."""

    seed: int
    begins_at: str
    ends_at: str
    machines: tuple[TrueMachine, ...]
    changes: tuple[Change, ...]
    regressions: tuple[TrueRegression, ...]
    steps: tuple[TrueStep, ...]
    redefinitions: tuple[TrueStep, ...]
    outliers: tuple[TrueOutlier, ...]
    drifts: tuple[TrueDrift, ...]
    throttling: tuple[TrueThrottling, ...]
    flaky: tuple[TrueFlaky, ...]
    failures: tuple[TrueFailure, ...]
    silences: tuple[TrueSilence, ...]
    noise: dict[str, float]

    def as_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)

    def write(self, path: Path) -> None:
        path.write_text(self.as_json(), encoding="utf-8")


_ENTRIES: dict[str, Any] = {
    "machines": TrueMachine,
    "changes": Change,
    "regressions": TrueRegression,
    "steps": TrueStep,
    "redefinitions": TrueStep,
    "outliers": TrueOutlier,
    "drifts": TrueDrift,
    "throttling": TrueThrottling,
    "flaky": TrueFlaky,
    "failures": TrueFailure,
    "silences": TrueSilence,
}


def read_truth(path: Path) -> Truth:
    """What `Truth.write` wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for name, kind in _ENTRIES.items():
        content[name] = tuple(kind(**_tuples(entry)) for entry in content[name])
    return Truth(**content)


def _tuples(entry: dict[str, Any]) -> dict[str, Any]:
    if "measurements" in entry:
        entry["measurements"] = [ChangedMeasurement(**each) for each in entry["measurements"]]
    return {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
