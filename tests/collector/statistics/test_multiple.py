"""Many tests at once, against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmenv_collector.statistics.multiple import benjamini_hochberg
from scipy import stats


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
@settings(derandomize=True, deadline=None)
def test_q_values_are_those_of_scipy(p_values: list[float]) -> None:
    """Within 1e-12, monotone in p, and never below p."""
    q_values = benjamini_hochberg(p_values)
    assert q_values == pytest.approx(stats.false_discovery_control(p_values), abs=1e-12)
    assert (np.diff(q_values[np.argsort(p_values)]) >= 0).all()
    assert (q_values >= np.array(p_values) * (1 - 1e-12)).all()


def test_no_test_has_no_q() -> None:
    """And what is no probability is refused."""
    assert benjamini_hochberg([]).shape == (0,)
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            benjamini_hochberg([0.5, wrong])
