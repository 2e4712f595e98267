"""Figures as pages print them: 124,439,808; 0.50 GB; 1.25 s; +4.2 %. A gigabyte is 10^9 bytes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmenv.catalog.texts import Texts

PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
SECONDS = ((120.0, 60.0, "min"), (1.0, 1.0, "s"), (1e-3, 1e-3, "ms"), (0.0, 1e-6, "µs"))
BYTES = ((5e7, 1e9, "GB"), (1e5, 1e6, "MB"), (0.0, 1.0, "B"))


def significant(value: float) -> str:
    """Four digits; whole numbers from 1,000 on."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


def quantity(value: float, unit: str, texts: Texts) -> str:
    """A number with its unit, as `Measurement.unit` names it."""
    factor, name = unit_of(value, unit, texts)
    return joined(value / factor, name)


def unit_of(value: float, unit: str, texts: Texts) -> tuple[float, str]:
    """What to divide values of this size by, and the name of the unit then; empty for a bare number."""
    if not math.isfinite(value) or unit in {"1", ""}:
        return 1.0, ""
    if unit in {"s", "byte"}:
        steps = SECONDS if unit == "s" else BYTES
        return next((factor, name) for least, factor, name in steps if abs(value) >= least)
    if unit == "FLOP/s":
        return next(
            ((factor, f"{prefix}{unit}") for factor, prefix in PREFIXES if abs(value) >= factor), (1.0, unit)
        )
    return 1.0, texts.name_of("unit", unit)


def joined(value: float, name: str) -> str:
    if not math.isfinite(value):
        return str(value)
    return f"{significant(value)} {name}".rstrip()


def percent(ratio: float) -> str:
    """A ratio as the change that it is, in percent with its sign; far from 1 as a factor."""
    if ratio >= 3 or ratio < 1 / 3:
        return f"×{ratio:.3g}"  # noqa: RUF001 (times)
    change = round((ratio - 1) * 100, 1)
    sign = "±" if change == 0 else "−" if change < 0 else "+"  # noqa: RUF001 (a minus, as wide as a plus)
    return f"{sign}{abs(change):.1f} %"


def share(part: float) -> str:
    """In percent, without its sign: 0.031 is 3.1."""
    return f"{part * 100:.3g}"


def probability(value: float) -> str:
    """Two digits; what is smaller than a thousandth by its power."""
    return f"{value:.2g}" if value >= 1e-3 else f"{value:.0e}"


def memory(byte_count: int) -> str:
    """As machines are sold with, whole GiB."""
    gibibytes, rest = divmod(byte_count, 2**30)
    return f"{byte_count / 1e9:,.2f} GB" if rest else f"{gibibytes} GiB"
