"""torch_training: a network that learns passes, and one that does not is never a pass."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import CheckRunner, Observed

pytestmark = pytest.mark.training


def test_tinynet_learns_on_the_cpu(observed: Observed) -> None:
    """74,826 parameters; the loss falls far below half its start and below any constant prediction."""
    assert observed.status == "pass", observed.reason
    measured = observed.measured
    assert measured["parameters"] == 74_826
    assert measured["uniform_guess_loss"] == math.log(10)
    assert measured["constant_prediction_loss"] == pytest.approx(math.log(10), abs=0.01)
    assert measured["constant_prediction_loss"] < measured["uniform_guess_loss"]
    assert measured["first_loss"] == pytest.approx(2.32, abs=0.02)
    assert measured["last_loss"] < 0.5
    assert measured["last_loss"] < measured["mean_loss"] < measured["first_loss"]
    rate = next(each for each in observed.result.measurements if each.name == "steps_per_second")
    assert (len(rate.trials), len(rate.warmups)) == (9, 1)


def test_learning_rate_of_zero_fails(run_check: CheckRunner) -> None:
    """Without learning the loss stays, which is what the reference report called converged."""
    observed = run_check("torch_training", brief={"learning_rate": 0.0})
    assert (observed.status, observed.unmet) == ("fail", ["loss_falls", "all_parameters_learn"])
    assert observed.measured["last_loss"] == observed.measured["first_loss"]


def test_random_labels_fail(run_check: CheckRunner) -> None:
    """Labels that do not depend on the inputs cannot be learned, nor memorised: no example comes twice."""
    planted = """
        import torch
        global _examples
        draw = _examples
        def _examples(count, *, seed):
            inputs, labels = draw(count, seed=seed)
            return inputs, labels[torch.randperm(count)]
    """
    observed = run_check("torch_training", planted=planted)
    assert observed.unmet == ["loss_falls"]
    assert observed.measured["last_loss"] == pytest.approx(math.log(10), abs=0.05)


def test_optimizer_that_does_nothing_fails(run_check: CheckRunner) -> None:
    """The bug of addcdiv on old MPS: steps that are taken and change nothing."""
    planted = """
        import torch
        torch.optim.Adam.step = lambda self: None
    """
    assert run_check("torch_training", planted=planted).unmet == ["loss_falls", "all_parameters_learn"]


def test_layer_that_never_moves_fails(run_check: CheckRunner) -> None:
    """The other layers learn around a first one whose update is lost, and the loss falls all the same."""
    planted = """
        import torch
        step = torch.optim.Adam.step
        def losing(self):
            weight = self.param_groups[0]["params"][0]
            before = weight.detach().clone()
            step(self)
            weight.data.copy_(before)
        torch.optim.Adam.step = losing
    """
    observed = run_check("torch_training", planted=planted)
    assert observed.unmet == ["all_parameters_learn"]
    assert observed.reason.endswith("expected 8 tensors changed, observed 7, all but 0.weight.")


def test_loss_that_falls_and_is_a_wrong_number_fails(run_check: CheckRunner) -> None:
    """A loss of a tenth falls to a tenth of its end: only the reference shows it."""
    planted = """
        import torch
        right = torch.nn.functional.cross_entropy
        torch.nn.functional.cross_entropy = lambda *arguments: 0.1 * right(*arguments)
    """
    assert run_check("torch_training", planted=planted).unmet == ["losses_right"]


def test_loss_that_is_not_finite_fails(run_check: CheckRunner) -> None:
    """A NaN in one batch is counted and fails, even where the end looks fine."""
    planted = """
        global _step
        step = _step
        taken = []
        def _step(network, optimizer, inputs, labels):
            taken.append(None)
            loss = step(network, optimizer, inputs, labels)
            return loss * float("nan") if len(taken) == 50 else loss
    """
    observed = run_check("torch_training", planted=planted)
    assert observed.unmet == ["losses_finite"]
    assert observed.reason == "losses_finite: expected 0 losses not finite, observed 1 not finite."


def test_missing_torch_is_an_error(run_check_without_packages: CheckRunner) -> None:
    """An interpreter without packages gets an error that names the package."""
    observed = run_check_without_packages("torch_training")
    assert (observed.status, observed.result.error.missing) == ("error", "torch")
