"""gradient_accumulation: small batches add up to the large one, weighted by token, or fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import CheckRunner

pytestmark = pytest.mark.training


def test_small_batches_equal_the_large_one(run_check: CheckRunner) -> None:
    """To rounding, with equal and with unequal batches; averaging means is right for the equal ones alone."""
    observed = run_check("gradient_accumulation")
    assert observed.cases == {"equal": "pass", "unequal": "pass"}, observed.reason
    equal, unequal = ({each.name: each.value for each in case.measurements} for case in observed.result.cases)
    assert max(equal["gradient_error"], unequal["gradient_error"]) < 1e-5
    assert (equal["fewest_targets"], equal["most_targets"]) == (126, 126)
    assert (unequal["fewest_targets"], unequal["most_targets"]) == (56, 126)
    assert equal["error_of_averaged_means"] < 1e-5
    assert unequal["error_of_averaged_means"] > 0.1


def test_batch_that_is_lost_fails(run_check: CheckRunner) -> None:
    """Three of four batches are not the large one."""
    planted = """
        global _trained
        right = _trained
        def _trained(probe, batches):
            return right(probe, batches[:3])
    """
    observed = run_check("gradient_accumulation", planted=planted)
    assert observed.cases == {"equal": "fail", "unequal": "fail"}
    assert observed.result.cases[0].reason.text.startswith("Accumulated gradients are ")


def test_case_that_cannot_tell_the_known_mistake_fails(run_check: CheckRunner) -> None:
    """Where every batch counts as much, averaging means is right, and `unequal` proves nothing."""
    planted = """
        global _targets
        def _targets(labels):
            return 100
    """
    observed = run_check("gradient_accumulation", planted=planted)
    assert observed.cases["unequal"] == "fail"
    assert "which has to be above" in observed.result.cases[1].reason.text


def test_step_that_differs_fails(run_check: CheckRunner) -> None:
    """The gradients agree, and the optimizer moves a weight elsewhere every second time."""
    planted = """
        import torch
        step, taken = torch.optim.SGD.step, []
        def straying(self):
            step(self)
            taken.append(None)
            self.param_groups[0]["params"][0].data[0, 0] += 1e-4 * (len(taken) % 3 == 2)
        torch.optim.SGD.step = straying
    """
    observed = run_check("gradient_accumulation", planted=planted)
    assert observed.cases == {"equal": "fail", "unequal": "fail"}
    assert observed.result.cases[0].reason.text.startswith("After one step a weight differs by ")
