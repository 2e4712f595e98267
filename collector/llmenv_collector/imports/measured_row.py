"""One row of a file of measurements made elsewhere, held to what a measurement needs."""

# Whatever is wrong with a cell is a ValueError: its sentence is for who wrote the file.
# ruff: noqa: TRY004

from __future__ import annotations

import datetime as dt
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmenv_collector import clock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REQUIRED = ("machine", "chip", "benchmark", "measurement", "unit", "value", "better", "measured_at")
COLUMNS = (*REQUIRED, "gpu_cores", "memory_gb", "macos", "device", "case", "packages", "trials")
DIRECTIONS = {"higher": 1, "lower": 2}
DEVICES = ("mps", "cuda", "cpu")
DEFAULT_DEVICE = "mps"
LONGEST_TEXT = 200
MOST_TRIALS, MOST_PACKAGES = 10_000, 1_000
GIB = 2**30
DAY = 86_400 * clock.MICROSECONDS
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
VERSION = re.compile(r"\d{1,4}(\.\d{1,6}){0,3}")
PACKAGE = re.compile(r"([A-Za-z0-9][\w.-]*)==([\w.!+-]+)")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Times are microseconds since 1970; texts that were not given are empty."""

    line: int
    machine: str
    chip: str
    gpu_cores: int | None
    memory_bytes: int | None
    macos: str
    device: str
    benchmark: str
    case_name: str
    measurement: str
    unit: str
    value: float
    direction: int
    trials: tuple[float, ...]
    packages: Mapping[str, str]
    measured_at: int

    @property
    def subject(self) -> tuple[object, ...]:
        """The machine: of one name with other facts it is another one."""
        return self.machine, self.chip, self.gpu_cores, self.memory_bytes

    @property
    def series(self) -> tuple[str, ...]:
        return self.benchmark, self.case_name, self.measurement

    @property
    def identity(self) -> tuple[object, ...]:
        """No two rows of a file are alike in all of this."""
        packages = tuple(sorted(self.packages.items()))
        return self.subject, self.macos, self.device, packages, self.series, self.measured_at


def measured_row(line: int, cells: Mapping[str, Any], *, now: int) -> Measured:
    """Raises ValueError with one sentence for people."""
    value = positive(cells, "value")
    trials = trials_of(cells.get("trials"))
    if trials and not min(trials) <= value <= max(trials):
        raise ValueError(f"The value {value:g} lies outside its trials.")
    memory = optional_number(cells, "memory_gb", most=1e6)
    return Measured(
        line=line,
        machine=text(cells, "machine"),
        chip=text(cells, "chip"),
        gpu_cores=whole(optional_number(cells, "gpu_cores", most=10_000)),
        memory_bytes=None if memory is None else round(memory * GIB),
        macos=matching(cells, "macos", VERSION, "a version such as 15.3"),
        device=one_of(cells, "device", DEVICES, default=DEFAULT_DEVICE),
        benchmark=matching(cells, "benchmark", NAME, "a name such as llama_bench", is_required=True),
        case_name=text(cells, "case", is_required=False),
        measurement=matching(
            cells, "measurement", NAME, "a name such as tokens_per_second", is_required=True
        ),
        unit=text(cells, "unit"),
        value=value,
        direction=DIRECTIONS[one_of(cells, "better", tuple(DIRECTIONS))],
        trials=trials,
        packages=packages_of(cells.get("packages")),
        measured_at=time_of(text(cells, "measured_at"), now=now),
    )


def text(cells: Mapping[str, Any], name: str, *, is_required: bool = True) -> str:
    found = cells.get(name)
    if found is None:
        found = ""
    if not isinstance(found, str):
        raise ValueError(f"{name} is no text: {found!r}.")
    found = found.strip()
    if is_required and not found:
        raise ValueError(f"{name} is empty.")
    if len(found) > LONGEST_TEXT:
        raise ValueError(f"{name} has more than {LONGEST_TEXT} characters.")
    if not found.isprintable():
        raise ValueError(f"{name} holds characters that cannot be printed.")
    return found


def matching(
    cells: Mapping[str, Any], name: str, pattern: re.Pattern[str], kind: str, *, is_required: bool = False
) -> str:
    found = text(cells, name, is_required=is_required)
    if found and not pattern.fullmatch(found):
        raise ValueError(f"{name} is {kind}, not {found!r}.")
    return found


def one_of(cells: Mapping[str, Any], name: str, words: Sequence[str], *, default: str = "") -> str:
    found = text(cells, name, is_required=not default).lower() or default
    if found not in words:
        raise ValueError(f"{name} is one of {', '.join(words)}, not {found!r}.")
    return found


def number(found: object, name: str) -> float:
    """A figure above 0: nothing else can be compared as a ratio."""
    if isinstance(found, str) and NUMBER.fullmatch(found.strip()):
        found = float(found)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise ValueError(f"{name} is no number: {found!r}.")
    try:
        figure = float(found)
    except OverflowError:
        figure = math.inf
    if not (math.isfinite(figure) and figure > 0):
        raise ValueError(f"{name} is not above 0: {found!r}.")
    return figure


def positive(cells: Mapping[str, Any], name: str) -> float:
    found = cells.get(name)
    if found is None or (isinstance(found, str) and not found.strip()):
        raise ValueError(f"{name} is empty.")
    return number(found, name)


def optional_number(cells: Mapping[str, Any], name: str, *, most: float) -> float | None:
    found = cells.get(name)
    if found is None or (isinstance(found, str) and not found.strip()):
        return None
    figure = number(found, name)
    if figure > most:
        raise ValueError(f"{name} is more than {most:g}.")
    return figure


def whole(figure: float | None) -> int | None:
    if figure is None:
        return None
    if figure != int(figure):
        raise ValueError(f"gpu_cores is no whole number: {figure:g}.")
    return int(figure)


def trials_of(found: object) -> tuple[float, ...]:
    """A list of numbers, or a text of them with ";" between."""
    if found is None or found == "":
        return ()
    values = found.split(";") if isinstance(found, str) else found
    if not isinstance(values, list):
        raise ValueError(f"trials are numbers with ; between, or a list, not {found!r}.")
    if len(values) > MOST_TRIALS:
        raise ValueError(f"These are more than {MOST_TRIALS:,} trials.")
    return tuple(number(value, "a trial") for value in values)


def packages_of(found: object) -> dict[str, str]:
    """An object of versions by name, or a text such as "torch==2.10.0 mlx==0.30.0"."""
    if found is None or found == "":
        return {}
    if isinstance(found, dict):
        found = " ".join(f"{name}=={version}" for name, version in found.items())
    if not isinstance(found, str):
        raise ValueError(f"packages are versions by name, not {found!r}.")
    versions: dict[str, str] = {}
    for part in found.split():
        pinned = PACKAGE.fullmatch(part)
        if pinned is None:
            raise ValueError(f"A package is written as torch==2.10.0, not {part[:LONGEST_TEXT]!r}.")
        versions[re.sub(r"[-_.]+", "-", pinned[1]).lower()] = pinned[2]
    if len(versions) > MOST_PACKAGES:
        raise ValueError(f"These are more than {MOST_PACKAGES:,} packages.")
    return versions


def time_of(said: str, *, now: int) -> int:
    """A day or a time of ISO 8601; without a zone it is UTC."""
    try:
        time = dt.datetime.fromisoformat(said)
        time = time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time
        passed = time - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"measured_at is a day or time such as 2026-02-15T16:20, not {said!r}.") from error
    at = passed // dt.timedelta(microseconds=1)
    if at > now + DAY:
        raise ValueError(f"measured_at lies in the future: {said}.")
    return at
