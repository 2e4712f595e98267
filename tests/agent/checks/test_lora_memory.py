"""lora_memory: two measured peaks that differ by what LoRA does not train."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import CheckRunner

pytestmark = pytest.mark.training

PARAMETERS = 25_482_240
# Rank 8 on c_attn, 512 to 1536, in 8 blocks.
TRAINABLE = 8 * (512 + 1536) * 8


def test_peak_falls_by_the_formula_and_not_by_99_percent(run_check: CheckRunner) -> None:
    """12 bytes for each parameter that is not trained; the weights stay."""
    observed = run_check("lora_memory")
    assert observed.status == "pass", observed.reason
    measured = observed.measured
    assert (measured["trainable_parameters"], measured["total_parameters"]) == (TRAINABLE, PARAMETERS)
    assert measured["saved_by_formula"] == 12 * (PARAMETERS - TRAINABLE)
    saved = measured["full_training_peak"] - measured["lora_training_peak"]
    assert saved == pytest.approx(measured["saved_by_formula"], rel=0.1)
    assert measured["gradients_and_optimizer_saved"] > 99
    assert 0.25 < measured["training_peak_ratio"] < 0.4
    assert "The 99.5 % that reports call memory saved are those of gradients and optimizer alone." in (
        observed.reason
    )


def test_adapter_that_leaves_the_base_training_fails(run_check: CheckRunner) -> None:
    """Gradients and moments of a base that was not frozen take what full fine-tuning takes."""
    planted = """
        import peft
        adapt = peft.get_peft_model
        def unfrozen(model, configuration):
            adapted = adapt(model, configuration)
            adapted.frozen = [each for each in adapted.parameters() if not each.requires_grad]
            for parameter in adapted.frozen:
                parameter.grad = parameter.detach().clone()
                parameter.moments = parameter.detach().clone(), parameter.detach().clone()
            return adapted
        peft.get_peft_model = unfrozen
    """
    observed = run_check("lora_memory", planted=planted)
    assert (observed.status, observed.unmet) == ("fail", ["peak_falls_by_formula"])


def test_second_process_that_fails_is_an_error(run_check: CheckRunner) -> None:
    """Its reason is in the sentence."""
    planted = """
        if "method" in probe.parameters:
            raise RuntimeError("no memory at all")
    """
    observed = run_check("lora_memory", planted=planted)
    assert observed.status == "error"
    assert observed.reason.endswith("the second process: RuntimeError: no memory at all")


def test_what_does_not_fit_is_skipped_with_the_arithmetic(run_check: CheckRunner) -> None:
    """With a million bytes left the check says what it would have needed."""
    planted = """
        probe.memory_room = lambda: (1e6, "a test")
    """
    observed = run_check("lora_memory", planted=planted)
    assert observed.status == "skip"
    assert "weights of 101 MB, gradients and two moments as large" in observed.reason
