"""Numbers as people read them: 124,439,808; 0.50 GB; 13,366 /ms. A gigabyte is 10^9 bytes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datetime as dt

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.result_pb2 import Fact

SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def count(value: float) -> str:
    """A whole number with separators, anything else in four digits."""
    return f"{value:,.0f}" if math.isfinite(value) and value == int(value) else significant(value)


def significant(value: float) -> str:
    """Four digits; whole numbers from 1,000 on."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


def size(byte_count: float) -> str:
    """GB from 50 MB on, so that the sizes of one table can be compared."""
    if byte_count >= 5e7:
        return f"{byte_count / 1e9:,.2f} GB"
    if byte_count >= 1e5:
        return f"{byte_count / 1e6:.2f} MB"
    return f"{byte_count:,.0f} B"


def memory(byte_count: int) -> str:
    """Memory as machines are sold with, whole GiB; else like any size."""
    gibibytes, rest = divmod(byte_count, 2**30)
    return size(byte_count) if rest else f"{gibibytes} GiB"


def duration(seconds: float) -> str:
    """Milliseconds below one second, minutes from two minutes on; nan and inf as they are."""
    if not math.isfinite(seconds):
        return str(seconds)
    if seconds >= 120:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    if seconds >= 10:
        return f"{seconds:.1f} s"
    if seconds >= 1:
        return f"{seconds:.2f} s"
    if seconds >= 1e-3:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds * 1e6:.1f} µs" if seconds else "0 s"


def quantity(value: float, unit: str, texts: Texts) -> str:
    """A number with its unit, as `Measurement.unit` names it; a loss may be nan or inf."""
    if not math.isfinite(value):
        return str(value)
    if unit == "byte":
        return size(value)
    if unit == "s":
        return duration(value)
    if unit in {"1", ""}:
        return count(value)
    if unit == "FLOP/s":
        return _scaled(value, unit)
    return f"{significant(value)} {texts.name_of('unit', unit)}"


def fact(observed: Fact, texts: Texts) -> str:
    """What was observed, with its unit."""
    kind = observed.WhichOneof("value")
    if kind == "flag":
        return texts.say("word.yes" if observed.flag else "word.no")
    if kind == "number":
        return quantity(observed.number, observed.unit, texts)
    return texts.phrase(observed.text)


def moment_in_column(time: dt.datetime) -> str:
    """The same where the column's title says UTC."""
    return f"{time:%Y-%m-%d %H:%M}"


def moment(time: dt.datetime) -> str:
    """A moment in UTC, to the minute."""
    return f"{time:%Y-%m-%d %H:%M} UTC"


def _scaled(value: float, unit: str) -> str:
    for scale, prefix in SCALES:
        if value >= scale:
            return f"{value / scale:.4g} {prefix}{unit}"
    return f"{value:.4g} {unit}"
