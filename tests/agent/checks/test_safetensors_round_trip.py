"""safetensors_round_trip: what comes back is what was saved, or it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import CheckRunner

pytestmark = pytest.mark.training


def test_everything_comes_back_on_the_cpu(run_check: CheckRunner) -> None:
    """Twelve types, metadata, layouts, tied weights and a damaged file."""
    observed = run_check("safetensors_round_trip")
    assert observed.status == "pass", observed.reason
    assert set(observed.cases.values()) == {"pass"}
    assert len([name for name in observed.cases if name.startswith("tensors/")]) == 12


def test_files_that_come_back_otherwise_fail(run_check: CheckRunner) -> None:
    """One bit of a bfloat16, metadata that is lost, a stride that is ignored, a cut file that loads."""
    planted = """
        import safetensors, safetensors.torch, torch
        load, save = safetensors.torch.load_file, safetensors.torch.save_file
        def load_file(path, **options):
            try:
                tensors = load(path, **options)
            except safetensors.SafetensorError:
                return {}
            if "bfloat16" in str(path):
                tensors["129"].view(torch.uint8)[17] ^= 1
            return tensors
        def save_file(tensors, path, metadata=None):
            if "transposed" in str(path):
                tensors = {"t": tensors["t"].T.contiguous().reshape(tensors["t"].shape)}
            if "shared" in str(path):
                return None
            save(tensors, path, metadata={**metadata, "empty": "?"} if metadata else None)
        safetensors.torch.load_file, safetensors.torch.save_file = load_file, save_file
    """
    observed = run_check("safetensors_round_trip", planted=planted)
    failed = {name for name, status in observed.cases.items() if status == "fail"}
    assert failed == {"tensors/bfloat16", "metadata", "transposed", "shared_storage", "truncated"}
    reasons = {case.name: case.reason.text for case in observed.result.cases}
    assert reasons["tensors/bfloat16"] == "Not what was saved: 129."
    assert reasons["truncated"].endswith("although it was cut to 639, 340, 60, 7, 0.")


def test_models_that_come_back_otherwise_fail(run_check: CheckRunner) -> None:
    """An output layer that is a copy of the embedding, and a Llama with one value changed."""
    planted = """
        import torch, transformers
        load = transformers.AutoModelForCausalLM.from_pretrained
        def from_pretrained(folder):
            model = load(folder)
            with torch.no_grad():
                if model.config.model_type == "gpt2":
                    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
                else:
                    model.model.norm.weight[3] += 0.5
            return model
        transformers.AutoModelForCausalLM.from_pretrained = from_pretrained
    """
    observed = run_check("safetensors_round_trip", planted=planted)
    failed = {name for name, status in observed.cases.items() if status == "fail"}
    assert failed == {"tied_weights", "bfloat16_model"}


def test_weights_stored_twice_fail(run_check: CheckRunner) -> None:
    """A checkpoint that keeps the tied tensor under both of its names."""
    planted = """
        import safetensors.torch, transformers
        save = transformers.GPT2LMHeadModel.save_pretrained
        def save_pretrained(self, folder):
            save(self, folder)
            safetensors.torch.save_file({"lm_head.weight": self.lm_head.weight}, folder / "more.safetensors")
        transformers.GPT2LMHeadModel.save_pretrained = save_pretrained
    """
    observed = run_check("safetensors_round_trip", planted=planted)
    assert {name for name, status in observed.cases.items() if status != "pass"} == {"tied_weights"}
