"""qlora_torch: NF4 as published passes, each departure from it fails, and two silent errors are warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import CheckRunner

pytestmark = pytest.mark.training

# Too few steps to learn: whatever else is planted, the loss does not fall.
BRIEF = {"layers": 1, "steps": 1, "batch_size": 1}

# bitsandbytes without the two errors that 0.50.2 has on some CPUs, so that tests see the same on all.
SOUND = """
import torch, transformers, peft, bitsandbytes
import bitsandbytes.functional as functional
import bitsandbytes.nn.modules as modules
modules.has_avx512bf16 = lambda: False
restore = functional.dequantize_4bit
def dequantize_4bit(codes, state, *arguments, **options):
    if state.nested or state.shape[-1] % 64 == 0:
        return restore(codes, state, *arguments, **options)
    pairs = torch.stack([codes.flatten() >> 4, codes.flatten() & 15], 1).flatten().long()
    return (state.code[pairs] * state.absmax.repeat_interleave(64)).view(state.shape)
functional.dequantize_4bit = dequantize_4bit
"""

FAULTS = {
    "quantized_modules": """
right = transformers.BitsAndBytesConfig
transformers.BitsAndBytesConfig = lambda **options: right(
    llm_int8_skip_modules=["q_proj", "lm_head"], **options
)
""",
    "quantized_memory": """
right = transformers.BitsAndBytesConfig
transformers.BitsAndBytesConfig = lambda **options: right(**{**options, "bnb_4bit_use_double_quant": False})
""",
    "within_nf4_bound": """
sound = functional.dequantize_4bit
functional.dequantize_4bit = lambda *arguments, **options: sound(*arguments, **options) * 1.05
""",
    "product": """
right = bitsandbytes.matmul_4bit
class Imprecise(torch.autograd.Function):
    forward = staticmethod(lambda context, x: x * 1.001)
    backward = staticmethod(lambda context, gradient: gradient)
bitsandbytes.matmul_4bit = lambda *arguments, **options: Imprecise.apply(right(*arguments, **options))
""",
    "gradient": """
right = bitsandbytes.matmul_4bit
class Imprecise(torch.autograd.Function):
    forward = staticmethod(lambda context, x: x.clone())
    backward = staticmethod(lambda context, gradient: gradient * 1.001)
bitsandbytes.matmul_4bit = lambda *arguments, **options: Imprecise.apply(right(*arguments, **options))
""",
    "trainable_parameters": """
right = peft.LoraConfig
peft.LoraConfig = lambda **options: right(**{**options, "r": 4})
""",
    "base_unchanged": """
train_rightly = _train
def train_and_break(probe, model, device):
    losses = train_rightly(probe, model, device)
    next(iter(nf4.layers_of(model).values())).weight.data[0] ^= 1
    return losses
globals()["_train"] = train_and_break
""",
}

# A layer left out of the quantization is not counted among those with an adapter either, and the fused
# product does not restore its weights as `dequantize_4bit` does.
CONSEQUENCES = {"quantized_modules": ("trainable_parameters",), "within_nf4_bound": ("product",)}


def test_qlora_learns_in_4_bits(run_check: CheckRunner) -> None:
    """4.127 bits a parameter, every weight within NF4's bound, and a loss that falls: without a warning."""
    observed = run_check("qlora_torch", planted=SOUND)
    assert observed.status == "pass", observed.reason
    assert sorted(observed.met) == sorted([*FAULTS, "loss_falls"])
    measured = observed.measured
    assert measured["bits_per_parameter"] == 4 + 8 / 64 + 32 / (64 * 256)
    assert measured["share_of_fp16"] == measured["bits_per_parameter"] / 16
    # 2 layers, rank 8: four projections of 256 x 256, three of 256 x 704.
    assert measured["trainable_parameters"] == 2 * 8 * (4 * 512 + 3 * 960)
    assert 0.9 < measured["share_of_nf4_bound"] <= 1.001
    assert measured["last_loss"] < 2 < measured["first_loss"]


@pytest.mark.parametrize("unmet", FAULTS)
def test_each_departure_fails_by_its_name(run_check: CheckRunner, unmet: str) -> None:
    """Modules, memory, restored weights, product, gradient, adapter and base are judged apart."""
    observed = run_check("qlora_torch", brief=BRIEF, planted=SOUND + FAULTS[unmet])
    assert observed.status == "fail", observed.reason
    assert set(observed.unmet) == {unmet, "loss_falls", *CONSEQUENCES.get(unmet, ())}


def test_rows_of_one_and_a_half_blocks_restored_wrong_are_a_warning(run_check: CheckRunner) -> None:
    """Training goes on and ends well: the limitation and its remedy are the verdict."""
    planted = """
before = functional.dequantize_4bit
def exchanging_blocks(codes, state, *arguments, **options):
    restored = before(codes, state, *arguments, **options)
    return restored if state.shape[-1] % 64 == 0 else restored.flip(0)
functional.dequantize_4bit = exchanging_blocks
"""
    observed = run_check("qlora_torch", {"layers": 1}, planted=SOUND + planted)
    assert (observed.status, observed.result.remedy_id) == ("warn", "KI110"), observed.reason
    assert observed.unmet == []


def test_evaluation_that_ends_gradients_is_a_warning(run_check: CheckRunner) -> None:
    """A layer that was evaluated answers from what has no gradient any more, as when packed for inference."""
    planted = """
forward = modules.Linear4bit.forward
def packing(self, x):
    self.packed = getattr(self, "packed", False) or not (self.training or x.requires_grad)
    return forward(self, x.detach()).requires_grad_() if self.packed else forward(self, x)
modules.Linear4bit.forward = packing
"""
    observed = run_check("qlora_torch", {"layers": 1}, planted=SOUND + planted)
    assert (observed.status, observed.result.remedy_id) == ("warn", "KI111"), observed.reason
    assert observed.measured["gradient_change_by_evaluation"] == 1


def test_device_without_code_is_a_warning_with_the_remedy(run_check: CheckRunner) -> None:
    """An old bitsandbytes says nothing of its devices and knows CUDA alone."""
    observed = run_check(
        "qlora_torch", planted="import bitsandbytes\ndel bitsandbytes.supported_torch_devices"
    )
    assert (observed.status, observed.result.remedy_id) == ("warn", "KI082")
    assert observed.reason.endswith("has no code for cpu, so there is no QLoRA with PyTorch here.")
    assert observed.measured == {}


def test_missing_bitsandbytes_is_skipped(run_check: CheckRunner) -> None:
    """Nobody needs it who trains with MLX."""
    planted = """
        import importlib.util
        find = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *rest: None if name == "bitsandbytes" else find(name, *rest)
    """
    observed = run_check("qlora_torch", planted=planted)
    assert (observed.status, observed.reason) == (
        "skip",
        "bitsandbytes is not installed, so there is no QLoRA with PyTorch here.",
    )
