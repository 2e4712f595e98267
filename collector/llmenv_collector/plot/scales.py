"""Scales: from what was measured to where it is drawn, with ticks at round values."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import Protocol

ROUND_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
SECOND, MINUTE, HOUR, DAY = 1.0, 60.0, 3_600.0, 86_400.0
TIME_STEPS = (
    *(step * SECOND for step in (1, 5, 15, 30)),
    *(step * MINUTE for step in (1, 5, 15, 30)),
    *(step * HOUR for step in (1, 3, 6, 12)),
    *(step * DAY for step in (1, 2, 7, 14, 28, 91, 182, 364)),
)


@dataclass(frozen=True)
class Tick:
    """A place on an axis and what is written there."""

    value: float
    label: str


class Scale(Protocol):
    """Rises or falls strictly with its value."""

    def __call__(self, value: float) -> float:
        """Where it is drawn; a value beyond the ends is drawn at the end."""

    def ticks(self, count: int) -> tuple[Tick, ...]:
        """About as many, at round values between both ends."""


@dataclass(frozen=True)
class Linear:
    """From `low` at `begin` to `high` at `end`."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        return placed(share(value, self.low, self.high), self.begin, self.end)

    def ticks(self, count: int) -> tuple[Tick, ...]:
        step = round_step((self.high - self.low) / max(count, 1))
        return tuple(Tick(value, plain(value, step)) for value in multiples(step, self.low, self.high))


@dataclass(frozen=True)
class Log:
    """As Linear, of the logarithm; both ends are above 0."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        if value <= 0:
            return self.begin
        return placed(share(math.log(value), math.log(self.low), math.log(self.high)), self.begin, self.end)

    def ticks(self, count: int) -> tuple[Tick, ...]:
        """Powers of ten and their halves where it spans some, else as a linear scale would."""
        decades = math.log10(self.high / self.low)
        if decades < 1.5:
            return Linear(self.low, self.high, self.begin, self.end).ticks(count)
        factors = (1, 2, 5) if decades < count / 2 else (1,)
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        values = (factor * 10.0**power for power in powers for factor in factors)
        kept = [value for value in values if self.low <= value <= self.high]
        stride = max(1, math.ceil(len(kept) / max(count, 1)))
        return tuple(Tick(value, f"{value:,.6g}") for value in kept[::stride])


@dataclass(frozen=True)
class Time:
    """As Linear, of seconds since 1970; ticks stand at whole steps of UTC."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        return placed(share(value, self.low, self.high), self.begin, self.end)

    def ticks(self, count: int) -> tuple[Tick, ...]:
        least = (self.high - self.low) / max(count, 1)
        step = next((step for step in TIME_STEPS if step >= least), round_step(least / DAY) * DAY)
        return tuple(Tick(value, moment(value, step)) for value in multiples(step, self.low, self.high))


def spanning(values: list[float], *, margin: float = 0.06) -> tuple[float, float]:
    """Ends with room around the values, apart from each other also when the values are not."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = (high - low) * margin or abs(high) * margin or 1.0
    return low - room, high + room


def spanning_ratios(values: list[float], *, least: float = 0.1) -> tuple[float, float]:
    """Ends of a logarithmic scale with 1 in its middle, at least `least` to each side."""
    farthest = max((abs(math.log(value)) for value in values if value > 0), default=0.0)
    reach = max(farthest * 1.06, math.log1p(least))
    return math.exp(-reach), math.exp(reach)


def share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


def placed(part: float, begin: float, end: float) -> float:
    return begin + min(max(part, 0.0), 1.0) * (end - begin)


def round_step(least: float) -> float:
    """The smallest round step that is not below."""
    if not (math.isfinite(least) and least > 0):
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next((step * power for step in ROUND_STEPS if step * power >= least * (1 - 1e-9)), 10 * power)


def multiples(step: float, low: float, high: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [min(max(step * number, low), high) for number in range(first, last + 1)]


def plain(value: float, step: float) -> str:
    """With as many digits as tell neighbours apart."""
    if abs(value) < step / 1e6:
        return "0"
    if abs(value) >= 1e6 or step < 1e-6:
        return f"{value:.4g}"
    return f"{value:,.{decimals(step)}f}"


def decimals(step: float) -> int:
    return next((count for count in range(7) if math.isclose(round(step, count), step, rel_tol=1e-6)), 7)


def moment(seconds: float, step: float) -> str:
    form = "%Y-%m-%d" if step >= DAY else "%m-%d %H:%M" if step >= MINUTE else "%H:%M:%S"
    return (dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)).strftime(form)
