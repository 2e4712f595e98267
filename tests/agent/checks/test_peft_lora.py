"""peft_lora: counts, learning, untouched base weights, reloading and a real peak, each able to fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import CheckRunner, Observed

pytestmark = pytest.mark.training

# The tiny models learn a random batch only with large steps.
FAST = {"learning_rate": 2e-2}


@pytest.mark.slow
def test_gpt2_counts_loss_and_peak_are_right(observed: Observed) -> None:
    """1,179,648 of 125,619,456 parameters train on 48 modules, and the peak is above the weights' 502 MB."""
    assert observed.status == "pass", observed.reason
    measured = observed.measured
    assert (measured["trainable_parameters"], measured["total_parameters"]) == (1_179_648, 125_619_456)
    assert round(measured["trainable_share"], 2) == 0.94
    assert measured["adapted_modules"] == 48
    assert measured["last_loss"] < 0.9 * measured["first_loss"]
    assert measured["weight_memory"] == 4 * 125_619_456
    assert measured["weight_memory"] < measured["peak_memory"] <= observed.result.peak_memory.process_bytes
    assert observed.met == [
        "trainable_parameters",
        "gpt2_parameters",
        "loss_falls",
        "peak_covers_weights",
        "all_adapters_learn",
        "base_unchanged",
        "adapter_reloads",
    ]


def test_llama_like_model_gets_its_own_modules(run_check: CheckRunner, tiny_models: Path) -> None:
    """Without target_modules the seven projections of each layer are adapted, 8*(in + out) each."""
    observed = run_check("peft_lora", {"model": str(tiny_models / "llama"), **FAST})
    assert observed.status == "pass", observed.reason
    attention = (64 + 64) + (64 + 32) + (64 + 32) + (64 + 64)
    assert observed.measured["trainable_parameters"] == 2 * 8 * (attention + 3 * (64 + 128))
    assert observed.measured["adapted_modules"] == 14


def test_module_that_does_not_exist_is_an_error_that_says_so(
    run_check: CheckRunner, tiny_models: Path
) -> None:
    """target_modules that name nothing could not be run; the sentence names them."""
    observed = run_check("peft_lora", {"model": str(tiny_models / "gpt2"), "target_modules": ["q_proj"]})
    assert observed.status == "error"
    assert observed.reason.endswith("has no module called q_proj; set target_modules to names it has.")


def test_learning_rate_of_zero_fails(run_check: CheckRunner, tiny_models: Path) -> None:
    """Adapters that do not learn fail in the loss, and in not having moved."""
    observed = run_check("peft_lora", {"model": str(tiny_models / "gpt2")}, brief={"learning_rate": 0.0})
    assert (observed.status, observed.unmet) == ("fail", ["loss_falls", "all_adapters_learn"])


def test_one_adapter_that_never_moves_fails(run_check: CheckRunner, tiny_models: Path) -> None:
    """The others make the loss fall, so the loss does not show it."""
    planted = """
        import torch
        step = torch.optim.AdamW.step
        def losing(self):
            step(self)
            self.param_groups[0]["params"][1].data.zero_()
        torch.optim.AdamW.step = losing
    """
    observed = run_check("peft_lora", {"model": str(tiny_models / "gpt2"), **FAST}, planted=planted)
    assert observed.unmet == ["all_adapters_learn"]


def test_changed_base_weight_fails(run_check: CheckRunner, tiny_models: Path) -> None:
    """One number among the base weights that training moved is found by the hash."""
    planted = """
        global _train
        train = _train
        def _train(probe, model, batch):
            losses = train(probe, model, batch)
            model.get_base_model().transformer.wte.weight.data[3, 5] += 1e-6
            return losses
    """
    observed = run_check("peft_lora", {"model": str(tiny_models / "gpt2"), **FAST}, planted=planted)
    assert "base_unchanged" in observed.unmet


def test_adapter_that_saves_something_else_fails(run_check: CheckRunner, tiny_models: Path) -> None:
    """An adapter file that lacks what was learned gives other outputs on a fresh base."""
    planted = """
        from peft import PeftModel
        save = PeftModel.save_pretrained
        def lossy(self, folder):
            kept = {name: value.clone() for name, value in self.named_parameters() if "lora_B" in name}
            for name, value in self.named_parameters():
                value.data *= 0.9 if "lora_B" in name else 1
            save(self, folder)
            for name, value in self.named_parameters():
                value.data.copy_(kept.get(name, value.data))
        PeftModel.save_pretrained = lossy
    """
    observed = run_check("peft_lora", {"model": str(tiny_models / "gpt2"), **FAST}, planted=planted)
    assert (observed.status, observed.unmet) == ("fail", ["adapter_reloads"])


def test_peak_below_the_weights_is_no_peak(run_check: CheckRunner, tiny_models: Path) -> None:
    """The reference report's 0.34 GB for GPT-2's 0.50 GB of weights would fail here."""
    planted = """
        probe.peak_memory_bytes = lambda: 1000.0
    """
    observed = run_check("peft_lora", {"model": str(tiny_models / "gpt2"), **FAST}, planted=planted)
    assert (observed.status, observed.unmet) == ("fail", ["peak_covers_weights"])


def test_wrong_number_of_trainable_parameters_fails(run_check: CheckRunner, tiny_models: Path) -> None:
    """An adapter on half of the modules has not the parameters that the shapes ask for."""
    planted = """
        import peft
        adapt = peft.get_peft_model
        def half(model, configuration):
            configuration.layers_to_transform = [0]
            return adapt(model, configuration)
        peft.get_peft_model = half
    """
    observed = run_check("peft_lora", {"model": str(tiny_models / "gpt2"), **FAST}, planted=planted)
    assert observed.unmet[0] == "trainable_parameters"
    assert observed.reason.startswith("trainable_parameters: expected 16,384, observed 8,192")


def test_missing_package_is_an_error(run_check_without_packages: CheckRunner) -> None:
    """The first package that is missing is named."""
    observed = run_check_without_packages("peft_lora")
    assert (observed.status, observed.result.error.missing) == ("error", "torch")
