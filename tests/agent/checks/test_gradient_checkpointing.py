"""gradient_checkpointing: the peak falls as its activations say, gradients stay, and each can fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import CheckRunner

pytestmark = pytest.mark.training

# Half of the activations: with the slack the bound is 0.39 then, still far from equal.
SMALL = {"batch_size": 4}


def test_peak_falls_and_gradients_stay(run_check: CheckRunner) -> None:
    """Both families keep less than a quarter of the growth that the step has without checkpointing."""
    observed = run_check("gradient_checkpointing")
    assert observed.cases == {"gpt2": "pass", "llama": "pass"}, observed.reason
    for case in observed.result.cases:
        measured = {each.name: each.value for each in case.measurements}
        layers, block = 12, measured["block_activations"]
        assert measured["plain_growth"] == pytest.approx(layers * block, rel=0.2)
        assert measured["checkpointed_growth"] < 3 * block
        ratio = measured["checkpointed_growth"] / measured["plain_growth"]
        assert measured["peak_growth_ratio"] == ratio < 0.25
        assert measured["gradient_error"] < 1e-6


def test_checkpointing_that_keeps_everything_fails(run_check: CheckRunner) -> None:
    """A switch that does nothing leaves the peak where it was."""
    planted = """
        import transformers
        transformers.PreTrainedModel.gradient_checkpointing_enable = lambda self, **options: None
    """
    observed = run_check("gradient_checkpointing", SMALL, planted=planted)
    assert observed.cases == {"gpt2": "fail", "llama": "fail"}
    measured = {each.name: each.value for each in observed.result.cases[0].measurements}
    assert measured["peak_growth_ratio"] == pytest.approx(1, abs=0.1)


def test_other_gradients_fail(run_check: CheckRunner) -> None:
    """One tensor that the second computation gets wrong by a thousandth."""
    planted = """
        global gradients
        right, calls = gradients, []
        def gradients(model):
            calls.append(None)
            found = right(model)
            found[min(found)] *= 1.001 if len(calls) % 2 == 0 else 1
            return found
    """
    observed = run_check("gradient_checkpointing", SMALL, planted=planted)
    assert observed.cases == {"gpt2": "fail", "llama": "fail"}
    assert observed.result.cases[0].reason.text.startswith("Gradients with checkpointing are 1.0e-03 away")


def test_what_does_not_fit_is_skipped_with_the_arithmetic(run_check: CheckRunner) -> None:
    """With a million bytes left the check says what it would have needed."""
    planted = """
        probe.memory_room = lambda: (1e6, "a test")
    """
    observed = run_check("gradient_checkpointing", SMALL, planted=planted)
    assert observed.status == "skip"
    assert "12 blocks of 7.4 MB, twice" in observed.reason
