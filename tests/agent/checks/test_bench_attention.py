"""bench_attention: forward and training are timed, and attention that is not causal has no speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import CheckRunner

pytestmark = pytest.mark.training

SMALL = {"heads": 2, "head_width": 8, "lengths": [16, 32], "trial_seconds": 0.005, "cooldown_seconds": 0.0}


def test_forward_and_training_are_timed_by_length(run_check: CheckRunner) -> None:
    """Ten trials each, the longest text first, every output right."""
    observed = run_check("bench_attention", SMALL)
    assert observed.status == "pass", observed.reason
    assert list(observed.cases) == ["float32/32", "float32/16"]
    for case in observed.result.cases:
        measured = {each.name: each for each in case.measurements}
        assert measured["output_error"].value < 1e-5
        assert len(measured["attention_forward"].trials) == 10
        assert len(measured["attention_training"].trials) == 10


@pytest.mark.parametrize("fault", ["is_causal=False", "is_causal=is_causal, scale=1.0"])
def test_wrong_attention_has_no_speed(run_check: CheckRunner, fault: str) -> None:
    """A mask that is dropped makes a kernel no slower; nor does a wrong scale."""
    planted = f"""
        from torch.nn import functional
        right = functional.scaled_dot_product_attention
        def wrong(query, key, value, is_causal):
            return right(query, key, value, {fault})
        functional.scaled_dot_product_attention = wrong
    """
    observed = run_check("bench_attention", {**SMALL, "lengths": [32]}, planted=planted)
    assert observed.cases == {"float32/32": "fail"}
    assert observed.result.cases[0].reason.text.startswith("What was timed computes wrong")
