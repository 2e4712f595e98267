"""What can be planted in a fleet's history. Machines are named by their index, days counted from the start.

A `factor` multiplies speed: 0.92 is 8 % slower, in every figure of the workload.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Regression:
    """Versions of a package (or "macos") change the speed of a workload, on all chips or those named."""

    package: str
    versions: tuple[str, ...]
    check: str
    workload: str
    factor: float
    chips: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outlier:
    """A machine that is always off its cohort, in every workload."""

    machine: int
    factor: float


@dataclass(frozen=True, kw_only=True)
class Step:
    """A machine's speed changes on a day, with nothing that its records would show."""

    machine: int
    day: float
    check: str
    workload: str
    factor: float


@dataclass(frozen=True, kw_only=True)
class Drift:
    """A machine that grows slower a little each day from a day on, in every workload."""

    machine: int
    from_day: float
    loss_per_day: float
    most_lost: float = 0.2


@dataclass(frozen=True, kw_only=True)
class Throttling:
    """A machine of whose runs a share loses speed to heat while it runs: trials decline, pressure rises."""

    machine: int
    share: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class Flaky:
    """A check that fails in a share of a machine's runs, with nothing changed."""

    machine: int
    check: str
    requirement: str
    share: float


@dataclass(frozen=True, kw_only=True)
class Failing:
    """A check that fails wherever a version of a package (or "macos") meets a chip."""

    package: str
    versions: tuple[str, ...]
    check: str
    requirement: str
    chips: tuple[str, ...] = ()
    remedy_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Silence:
    """A machine of which nothing comes any more from a day on."""

    machine: int
    from_day: float


@dataclass(frozen=True, kw_only=True)
class Redefinition:
    """A check is defined anew on a day, on all machines: its figures before and after do not compare."""

    check: str
    day: float
    factor: float
