"""mixed_precision: fp16 and bf16 reach fp32's loss, and what only looks like them does not pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import CheckRunner

pytestmark = pytest.mark.training

# Enough to see a fault; fp32 itself needs more steps to halve its loss.
SHORT = {"steps": 4, "batch_size": 4, "sequence_length": 32}


def test_both_types_reach_the_loss_of_fp32(run_check: CheckRunner) -> None:
    """Each case says the type inside linear layers, the error of its gradients and its loss."""
    observed = run_check("mixed_precision")
    assert observed.status == "pass", observed.reason
    assert observed.cases == {"fp16": "pass", "bf16": "pass"}
    for case, dtype in zip(observed.result.cases, ("float16", "bfloat16"), strict=True):
        measured = {each.name: each.value for each in case.measurements}
        assert [fact.text for fact in case.facts] == [dtype]
        assert 0 < measured["gradient_error"] < 0.03
        assert abs(measured["loss_difference"]) < 0.2 * measured["loss_band"]
        assert measured["last_loss"] < 0.5 * observed.measured["first_loss"]


def test_autocast_that_does_nothing_fails(run_check: CheckRunner) -> None:
    """Training in fp32 under the name of fp16 reaches fp32's loss, of course."""
    planted = """
        import contextlib, torch
        torch.autocast = lambda *arguments, **options: contextlib.nullcontext()
    """
    observed = run_check("mixed_precision", brief=SHORT, planted=planted)
    assert observed.cases == {"fp16": "fail", "bf16": "fail"}
    reason = "Under autocast to float16 the linear layers computed in float32."
    assert observed.result.cases[0].reason.text == reason


def test_type_that_autocast_refuses_is_said(run_check: CheckRunner) -> None:
    """Autocast warns and goes on in fp32: on MPS that is a known limitation, elsewhere it does not apply."""
    planted = """
        import contextlib, torch, warnings
        def refusing(device, dtype):
            system = "MPS" if dtype == torch.bfloat16 else "CPU"
            warnings.warn(f"In {system} autocast, but the target dtype is not supported. Disabling autocast.")
            return contextlib.nullcontext()
        torch.autocast = refusing
    """
    observed = run_check("mixed_precision", brief=SHORT, planted=planted)
    assert observed.cases == {"fp16": "skip", "bf16": "warn"}
    assert [case.remedy_id for case in observed.result.cases] == ["", "KI077"]
    assert "target dtype is not supported" in observed.result.cases[0].reason.text


def test_scaled_gradients_that_stay_scaled_fail(run_check: CheckRunner) -> None:
    """Adam does not see a factor in the gradients, so that the loss does not show it."""
    planted = """
        import torch
        torch.amp.GradScaler.unscale_ = lambda self, optimizer: None
    """
    observed = run_check("mixed_precision", brief=SHORT, planted=planted)
    assert observed.cases == {"fp16": "fail", "bf16": "pass"}
    assert "The gradients in float16 are" in observed.result.cases[0].reason.text


def test_overflow_that_is_not_skipped_fails(run_check: CheckRunner) -> None:
    """A step with gradients that are not finite turns weights into NaN."""
    planted = """
        import torch
        def heedless(self, optimizer):
            self.unscale_(optimizer)
            optimizer.step()
        torch.amp.GradScaler.step = heedless
    """
    observed = run_check("mixed_precision", brief=SHORT, planted=planted)
    assert observed.cases == {"fp16": "fail", "bf16": "pass"}
    assert observed.result.cases[0].reason.text.startswith("After an overflow ")


def test_training_that_goes_elsewhere_fails(run_check: CheckRunner) -> None:
    """Under autocast nothing is learned: the loss stays where fp32's began."""
    planted = """
        global train
        right = train
        def train(model, batches, optimizer, **options):
            for group in optimizer.param_groups:
                group["lr"] *= not options
            return right(model, batches, optimizer, **options)
    """
    observed = run_check("mixed_precision", brief={**SHORT, "steps": 12}, planted=planted)
    assert observed.cases == {"fp16": "fail", "bf16": "fail"}
    assert observed.result.cases[1].reason.text.startswith("Training in bfloat16 ended at a loss of 5.")


def test_loss_that_never_falls_fails(run_check: CheckRunner) -> None:
    """Three trainings that learn nothing are equal, and no training."""
    observed = run_check("mixed_precision", brief={**SHORT, "learning_rate": 0.0})
    assert (observed.status, observed.unmet) == ("fail", ["loss_falls"])
