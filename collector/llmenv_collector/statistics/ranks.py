"""Ranks with ties: equal values share the average of their ranks (midranks)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def average_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1, shape of `values` (n,); without unit."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[which]
    return ranks


def tie_sizes(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many values share each distinct value."""
    return np.unique(values, return_counts=True)[1]
