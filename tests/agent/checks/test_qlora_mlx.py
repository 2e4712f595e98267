"""qlora_mlx: mlx-lm's own code quantizes, trains and loads, and each part that is wrong fails by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import CheckRunner

pytestmark = pytest.mark.training

# Too few steps to learn: whatever else is planted, the loss does not fall.
BRIEF = {"layers": 1, "steps": 2}

MODULES = """
import mlx_lm
from mlx_lm import lora
from mlx_lm.tuner import utils
convert, load, train_model = mlx_lm.convert, mlx_lm.load, lora.train_model
"""

FAULTS = {
    "quantized_modules": """
mlx_lm.convert = lambda path, **options: convert(
    path, quant_predicate=lambda name, *rest: "lm_head" not in name, **options
)
""",
    "quantized_memory": """
mlx_lm.convert = lambda path, **options: convert(path, **{**options, "q_bits": 8})
""",
    "trainable_parameters": """
right = utils.linear_to_lora_layers
def linear_to_lora_layers(model, layers, config, **options):
    return right(model, layers, {**config, "rank": 4}, **options)
utils.linear_to_lora_layers = lora.linear_to_lora_layers = linear_to_lora_layers
""",
    "all_adapters_learn": """
import mlx.core as mx
def train_and_reset(arguments, model, *rest):
    train_model(arguments, model, *rest)
    layer = model.layers[0].mlp.up_proj
    layer.lora_b = mx.zeros_like(layer.lora_b)
    mx.save_safetensors(arguments.adapter_path + "/adapters.safetensors", dict(
        utils.tree_flatten(model.trainable_parameters())
    ))
lora.train_model = train_and_reset
""",
    "base_unchanged": """
def train_and_break(arguments, model, *rest):
    train_model(arguments, model, *rest)
    model.layers[0].input_layernorm.weight = model.layers[0].input_layernorm.weight + 1e-7
lora.train_model = train_and_break
""",
    "adapter_reloads": """
mlx_lm.load = lambda path, adapter_path=None: load(path)
""",
}


def test_qlora_learns_in_4_bits(run_check: CheckRunner) -> None:
    """5 bits a parameter with scales and biases in FP32, and a loss that falls far below ln(30)."""
    observed = run_check("qlora_mlx")
    assert observed.status == "pass", observed.reason
    assert sorted(observed.met) == sorted([*FAULTS, "loss_falls"])
    measured = observed.measured
    assert measured["share_of_fp16"] == 5 / 16
    # 2 layers, rank 8: q and o 64 x 64, k and v 64 x 32, three of the MLP 64 x 128.
    assert measured["trainable_parameters"] == 2 * 8 * (2 * 128 + 2 * 96 + 3 * 192)
    assert measured["last_loss"] < 1.7
    assert measured["first_loss"] > 3
    assert measured["reloaded_error"] == 0


@pytest.mark.parametrize("unmet", FAULTS)
def test_each_fault_fails_by_its_name(run_check: CheckRunner, unmet: str) -> None:
    """Modules, memory, counts, adapters, base and the saved adapter are judged apart."""
    observed = run_check("qlora_mlx", brief=BRIEF, planted=MODULES + FAULTS[unmet])
    assert observed.status == "fail", observed.reason
    assert set(observed.unmet) == {"loss_falls", unmet}


def test_loss_that_becomes_nan_names_its_remedy(run_check: CheckRunner) -> None:
    """Old versions of MLX did that to LoRA, and an upgrade is the remedy."""
    planted = (
        MODULES
        + """
def train_to_nan(arguments, model, *rest):
    train_model(arguments, model, *rest)
    model.layers[0].mlp.up_proj.lora_b *= float("nan")
lora.train_model = train_to_nan
"""
    )
    observed = run_check("qlora_mlx", brief=BRIEF, planted=planted)
    assert (observed.status, observed.result.remedy_id) == ("fail", "KI067")
    assert observed.reason == "The loss became NaN."
