"""P of a statistic among random draws of it, with few draws where it is plainly large.

(b + 1) / (m + 1) of m draws (Phipson and Smyth, Statistical Applications in Genetics and
Molecular Biology 9, 2010, article 39); settled early, when ENOUGH_BEYOND were at least as
extreme, as that many over the draws made (Besag and Clifford, Sequential Monte Carlo
p-values, Biometrika 78, 1991, 301-304).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

ENOUGH_BEYOND = 10
NEARLY = 1e-9
"""Relative: what is equal but for rounding is as extreme."""


def sequential_p(
    draw: Callable[[int], NDArray[np.float64]], *, observed: float, draws: int, at_once: int = ENOUGH_BEYOND
) -> float:
    """`draw` gives so many statistics where nothing is, shape (count,); `observed` is positive."""
    beyond = made = 0
    while made < draws:
        count = min(at_once, draws - made)
        hits = np.flatnonzero(draw(count) >= observed * (1 - NEARLY))
        if beyond + len(hits) >= ENOUGH_BEYOND:
            return ENOUGH_BEYOND / (made + int(hits[ENOUGH_BEYOND - beyond - 1]) + 1)
        beyond, made = beyond + len(hits), made + count
    return (beyond + 1) / (draws + 1)
