"""What was measured of each system, and the table of it."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from systems.system import Shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from systems.system import System

_NAME, _FIGURE, _RATIO, _WIDTH = 20, 9, 7, 116


@dataclass(kw_only=True)
class Row:
    """Of one system; figures that it has none of are missing."""

    system: System
    version: str = ""
    rates: dict[Shape, float] = field(default_factory=dict)
    """Measurements a second."""
    cpu_microseconds: float | None = None
    """Of the server's processes, a measurement in the first shape."""
    peak_bytes: float | None = None
    bytes_each: float | None = None
    """On disk, a measurement."""
    answer_seconds: float | None = None
    reason: str = ""

    def figures(self) -> tuple[float | None, ...]:
        """In the order of the columns; None where there is none."""
        rates = [self.rates.get(shape) for shape in Shape]
        megabytes = None if self.peak_bytes is None else self.peak_bytes / 1e6
        milliseconds = None if self.answer_seconds is None else 1e3 * self.answer_seconds
        return (*rates, self.cpu_microseconds, megabytes, self.bytes_each, milliseconds)


_COLUMNS = (*(shape.value for shape in Shape), "server's CPU", "memory", "on disk", "question")
_UNITS = ("meas./s", "meas./s", "us/meas.", "MB", "B/meas.", "ms")


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Lines; each figure with its ratio to the first row's."""
    width = _FIGURE + _RATIO
    yield (" " * _NAME + "".join(f"{name:>{width}}" for name in _COLUMNS)).rstrip()
    yield " " * _NAME + "".join(f"{unit:>{_FIGURE}}{'ratio':>{_RATIO}}" for unit in _UNITS)
    ours = rows[0].figures()
    for row in rows:
        if row.reason:
            reason = textwrap.shorten(row.reason, _WIDTH - _NAME - 1, placeholder=" ...")
            yield f"{row.system.name:<{_NAME}} {reason}"
        else:
            cells = (cell(*pair) for pair in zip(row.figures(), ours, strict=True))
            yield f"{row.system.name:<{_NAME}}{''.join(cells)}"


def cell(figure: float | None, ours: float | None) -> str:
    if figure is None:
        return f"{'-':>{_FIGURE}}{'':>{_RATIO}}"
    digits = 0 if figure >= 100 else 1
    ratio = (
        f"{figure / ours:.{1 if figure >= 10 * ours else 2 if figure >= ours / 10 else 4}f}" if ours else ""
    )
    return f"{figure:>{_FIGURE},.{digits}f}{ratio:>{_RATIO}}"
