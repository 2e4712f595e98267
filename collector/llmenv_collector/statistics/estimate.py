"""A figure with what is known of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A value and the interval that holds the true one with the confidence that was asked for.

    In the unit of the values, or without unit where it is a ratio.  `low <= value <= high`.
    An end that nothing is known of is infinite (0 below, where only positive values exist).
    """

    value: float
    low: float
    high: float
