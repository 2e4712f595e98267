"""Plans beside what torch really allocates for small models, in the training environment.

Each tensor counts here, so a plan is off by what it rounds away; what a process takes beside its tensors is
measured by benchmarks/plan_accuracy.py.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from llmenv.catalog.memory import Attention, DataType, Device, Method, Recipe
from llmenv.catalog.memory_plan import plan
from llmenv.catalog.model_config import architecture_of

pytestmark = [pytest.mark.training, pytest.mark.slow, pytest.mark.timeout(900)]

SCRIPT = Path(__file__).resolve().with_name("allocation_peaks.py")
FULL, LORA, QLORA, INFERENCE = Method
FLOAT32, BFLOAT16 = DataType.FLOAT32, DataType.BFLOAT16
# Buffers of a block are upper bounds in some recipes (memory_backward.py): 10 % of small models.
TOLERANCE = 0.10
GPT2 = {
    "model_type": "gpt2",
    "n_layer": 3,
    "n_embd": 192,
    "n_head": 6,
    "vocab_size": 1000,
    "n_positions": 256,
    "attn_pdrop": 0.0,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
}
DROPOUT = {**GPT2, "attn_pdrop": 0.1, "resid_pdrop": 0.1, "embd_pdrop": 0.1}
LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 3,
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}
QWEN2 = {**LLAMA, "model_type": "qwen2", "tie_word_embeddings": True}
PLAIN = Recipe(method=FULL, dtype=FLOAT32, device=Device.CPU, batch=2, sequence=128, rank=8)
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "gpt2-full": (GPT2, {}),
    "gpt2-full-dropout": (DROPOUT, {}),
    "gpt2-full-checkpointing": (GPT2, {"checkpointing": True}),
    "gpt2-lora": (GPT2, {"method": LORA, "dtype": BFLOAT16}),
    "gpt2-inference": (GPT2, {"method": INFERENCE}),
    "llama-full": (LLAMA, {}),
    "llama-full-bfloat16": (LLAMA, {"dtype": BFLOAT16}),
    "llama-full-math": (LLAMA, {"attention": Attention.MATH}),
    "llama-full-few-tokens": (LLAMA, {"batch": 1, "sequence": 16}),
    "llama-lora": (LLAMA, {"method": LORA}),
    "llama-lora-bfloat16": (LLAMA, {"method": LORA, "dtype": BFLOAT16}),
    "llama-lora-checkpointing": (LLAMA, {"method": LORA, "dtype": BFLOAT16, "checkpointing": True}),
    "llama-inference": (LLAMA, {"method": INFERENCE, "dtype": BFLOAT16}),
    "qwen2-full": (QWEN2, {}),
    "qwen2-lora-math": (QWEN2, {"method": LORA, "dtype": BFLOAT16, "attention": Attention.MATH}),
}


@pytest.fixture(scope="module")
def allocated(training_python: Path) -> dict[str, int]:
    """Bytes by case, from one process, because importing torch takes longest."""
    requests = [request(config, recipe_of(changed)) for config, changed in CASES.values()]
    command = [str(training_python), str(SCRIPT), json.dumps(requests)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=850)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return dict(zip(CASES, json.loads(ended.stdout.splitlines()[-1]), strict=True))


def recipe_of(changed: dict[str, Any]) -> Recipe:
    return dataclasses.replace(PLAIN, **changed)


def request(config: dict[str, Any], asked: Recipe) -> dict[str, Any]:
    """As JSON has it."""
    return {
        "config": config,
        "method": asked.method.value,
        "dtype": asked.dtype.value,
        "device": asked.device.value,
        "batch": asked.batch,
        "sequence": asked.sequence,
        "rank": asked.rank,
        "checkpointing": asked.checkpointing,
        "attention": asked.attention.value if asked.attention else None,
    }


@pytest.mark.parametrize("name", CASES)
def test_a_plan_is_what_torch_allocates(allocated: dict[str, int], name: str) -> None:
    """All tensors but the weights, at the moment when they are most."""
    config, changed = CASES[name]
    planned = plan(architecture_of(config, name=name), recipe_of(changed))
    tensors = planned.tensor_bytes - planned.at_peak("weights")
    assert tensors == pytest.approx(allocated[name], rel=TOLERANCE)
