"""torch_quantization: what was converted is counted, and a remedy is believed only once it helped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import CheckRunner, Observed

pytestmark = pytest.mark.training

# What torch 2.10 says on MPS, without and with the fallback variable, recorded in two reports.
MISSING = "The operator 'aten::quantize_per_tensor' is not currently implemented for the MPS device."
NEXT = "Could not run 'aten::empty_quantized' with arguments from the 'QuantizedMPS' backend."
LIKE_MPS = f"""
    import os, torch
    right = torch.quantize_per_tensor
    def like_mps(values, *arguments, **options):
        if values.device.type != "meta":
            return right(values, *arguments, **options)
        if "PYTORCH_ENABLE_MPS_FALLBACK" not in os.environ:
            raise NotImplementedError({MISSING!r})
        WITH_FALLBACK
    torch.quantize_per_tensor = like_mps
"""


def test_converted_modules_are_counted(observed: Observed) -> None:
    """All four layers of TinyNet are converted, and of GPT-2's 49 only the output layer."""
    assert observed.status == "pass", observed.reason
    measured = observed.measured
    assert (measured["tinynet_converted_modules"], measured["tinynet_modules_with_weights"]) == (4, 4)
    assert (measured["gpt2_converted_modules"], measured["gpt2_modules_with_weights"]) == (1, 49)
    assert 1e-4 < measured["tinynet_quantization_error"] < 0.1
    assert observed.facts["operator_on_device"] == "works"
    assert "qnnpack" in observed.facts["supported_engines"]
    assert "fallback_status" not in observed.facts


def test_device_without_the_operator_is_a_warning_with_what_was_tried(run_check: CheckRunner) -> None:
    """torch's meta device really lacks it: the error is classified, and the second process saw no help."""
    observed = run_check("torch_quantization", {"operator_device": "meta"})
    assert (observed.status, observed.result.remedy_id) == ("warn", "KI072")
    assert observed.facts["operator_on_device"] == "missing"
    assert observed.facts["missing_operator"].startswith("aten::")
    assert (observed.facts["fallback_status"], observed.facts["fallback_helps"]) == ("error", False)
    assert observed.reason.startswith("Quantization works on the CPU alone: meta has no aten::")


def test_mps_errors_lead_to_the_remedy_that_works(run_check: CheckRunner) -> None:
    """With the texts of MPS the next missing operator is recognised: quantize on the CPU (KI073)."""
    planted = LIKE_MPS.replace("WITH_FALLBACK", f"raise NotImplementedError({NEXT!r})")
    observed = run_check("torch_quantization", {"operator_device": "meta"}, planted=planted)
    assert (observed.status, observed.result.remedy_id) == ("warn", "KI073"), observed.reason
    assert (observed.facts["missing_operator"], observed.facts["operator_error"]) == (
        "aten::quantize_per_tensor",
        MISSING,
    )
    assert observed.facts["fallback_error"] == NEXT
    assert observed.reason.endswith("and PYTORCH_ENABLE_MPS_FALLBACK=1 did not help.")


def test_fallback_that_helps_is_said_to_help(run_check: CheckRunner) -> None:
    """Were the variable to help, the second process would see it, and the sentence would change."""
    planted = LIKE_MPS.replace(
        "WITH_FALLBACK", "return right(torch.tensor([0.0, 0.5, 1.0]), *arguments, **options)"
    )
    observed = run_check("torch_quantization", {"operator_device": "meta"}, planted=planted)
    assert (observed.status, observed.result.remedy_id) == ("warn", "KI069"), observed.reason
    assert observed.facts["fallback_helps"] is True
    assert observed.reason.endswith("and with PYTORCH_ENABLE_MPS_FALLBACK=1 it runs.")


def test_without_torch_ao_and_torchao_nothing_is_claimed(run_check: CheckRunner) -> None:
    """A torch that has removed torch.ao.quantization, without torchao, is skipped with the reason."""
    planted = """
        import importlib.util
        find = importlib.util.find_spec
        removed = {"torch.ao.quantization", "torchao"}
        importlib.util.find_spec = lambda name, *rest: None if name in removed else find(name, *rest)
    """
    observed = run_check("torch_quantization", planted=planted)
    assert observed.status == "skip"
    assert observed.reason == (
        "This torch has no torch.ao.quantization any more, and torchao is not installed."
    )
    assert observed.facts["has_torch_ao_quantization"] is False
    assert observed.measured == {}


def test_quantization_that_converts_nothing_fails(run_check: CheckRunner) -> None:
    """A call that returns and converts no module is no success."""
    planted = """
        import torch.ao.quantization
        torch.ao.quantization.quantize_dynamic = lambda model, kinds, inplace: model
    """
    observed = run_check("torch_quantization", planted=planted)
    assert observed.unmet == ["tinynet_converted"]
    assert observed.measured["gpt2_converted_modules"] == 0


def test_quantized_outputs_far_from_the_float_ones_fail(run_check: CheckRunner) -> None:
    """A quantized layer that answers half is found by comparing outputs."""
    planted = """
        from torch.ao.nn.quantized.dynamic import Linear
        forward = Linear.forward
        Linear.forward = lambda self, inputs: forward(self, inputs) / 2
    """
    observed = run_check("torch_quantization", planted=planted)
    assert observed.unmet == ["tinynet_outputs", "gpt2_outputs"]
