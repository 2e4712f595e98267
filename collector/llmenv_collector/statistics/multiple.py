"""Many tests at once: how large a share of what is called a finding may be none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjusted p-values (q-values), in the order and shape (n,) of `p_values`.

    Calling a finding whatever has q <= rate keeps the expected share of false findings at
    or below that rate (Benjamini and Hochberg, Journal of the Royal Statistical Society B
    57, 1995, section 3.1), where tests are independent or positively dependent (Benjamini
    and Yekutieli, Annals of Statistics 29, 2001).  Adjusted values: Yekutieli and
    Benjamini, Journal of Statistical Planning and Inference 82 (1999), section 4.
    ValueError: a p-value that is not within [0, 1].
    """
    values = np.asarray(p_values, dtype=np.float64).ravel()
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("A p-value lies between 0 and 1.")
    order = np.argsort(values, kind="stable")
    scaled = values[order] * len(values) / np.arange(1, len(values) + 1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    return np.minimum(adjusted, 1.0)
