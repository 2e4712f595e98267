"""How far memory plans are from what processes of the training environment really take.

Each row is a fresh process that trains a model for two steps or lets it generate (processes/train_or_run.py),
beside the plan of the same configuration: every method, both families, with and without checkpointing, over
more than a tenfold range of size.  None of them set a constant.  The one constant of a plan, what a process
takes without a model, comes from four models of 0.1 million parameters, which are measured here as well and
do not count.  "without framework" is the error that remains when that constant is taken off both sides.

The last line is JSON: the median absolute relative error with its target.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmenv.catalog.memory import DataType, Device, Method, Recipe
from llmenv.catalog.memory_framework import framework
from llmenv.catalog.memory_plan import Plan, plan
from llmenv.catalog.model_config import architecture_of

if TYPE_CHECKING:
    from llmenv.catalog.architecture import Architecture

ROOT = Path(__file__).resolve().parent.parent
PROCESS = ROOT / "benchmarks" / "processes" / "train_or_run.py"
TARGET = 0.10
TIMEOUT_SECONDS = 1800
BITS16 = DataType.BFLOAT16
# A fixed threshold, so that glibc maps each tensor by itself and unmaps it when it is free.
SURROUNDINGS = {"OMP_NUM_THREADS": "2", "MALLOC_MMAP_THRESHOLD_": "65536", "TOKENIZERS_PARALLELISM": "false"}


@dataclasses.dataclass(frozen=True)
class Case:
    """One configuration in the keys of config.json, and what is done with it."""

    name: str
    config: dict[str, Any]
    recipe: Recipe

    @property
    def architecture(self) -> Architecture:
        return architecture_of(self.config, name=self.name)


def gpt2(layers: int, width: int, heads: int, vocabulary: int, **keys: Any) -> dict[str, Any]:
    """A GPT-2 without dropout unless it is given."""
    shape = {"n_layer": layers, "n_embd": width, "n_head": heads, "vocab_size": vocabulary}
    dropout = {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
    return {"model_type": "gpt2", "n_positions": 1024, **shape, **dropout, **keys}


def llama(
    layers: int, width: int, wide: int, heads: tuple[int, int], vocabulary: int, **keys: Any
) -> dict[str, Any]:
    """`heads` are query heads and key-value heads."""
    return {
        "model_type": "llama",
        "num_hidden_layers": layers,
        "hidden_size": width,
        "intermediate_size": wide,
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        "vocab_size": vocabulary,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
        **keys,
    }


def recipe(method: Method, dtype: DataType, batch: int, sequence: int, **keys: Any) -> Recipe:
    return Recipe(method=method, dtype=dtype, batch=batch, sequence=sequence, **keys)


SMOLLM2_135M = llama(30, 576, 1536, (9, 3), 49_152, tie_word_embeddings=True)
SMOLLM2_360M = llama(32, 960, 2560, (15, 5), 49_152, tie_word_embeddings=True)
QWEN2 = {**llama(12, 768, 2048, (12, 2), 151_936, tie_word_embeddings=True), "model_type": "qwen2"}
GPT2_MEDIUM = gpt2(24, 1024, 16, 50_257)
FULL, LORA, QLORA, INFERENCE = Method.FULL, Method.LORA, Method.QLORA, Method.INFERENCE
FLOAT32 = DataType.FLOAT32

QUICK = (
    Case("Llama 18M", llama(6, 384, 1024, (6, 2), 10_000), recipe(FULL, FLOAT32, 4, 256)),
    Case("GPT-2 30M", gpt2(8, 512, 8, 8_000), recipe(LORA, BITS16, 4, 256, checkpointing=True)),
    Case("Llama 36M", llama(8, 512, 1536, (8, 4), 10_000), recipe(QLORA, BITS16, 2, 384)),
    Case("GPT-2 46M", gpt2(6, 512, 8, 50_257), recipe(INFERENCE, FLOAT32, 2, 512)),
)
ALL = (
    *QUICK,
    Case(
        "GPT-2 46M dropout",
        gpt2(6, 512, 8, 50_257, attn_pdrop=0.1, resid_pdrop=0.1, embd_pdrop=0.1),
        recipe(FULL, FLOAT32, 2, 384),
    ),
    Case("GPT-2 124M", gpt2(12, 768, 12, 50_257), recipe(FULL, FLOAT32, 1, 512, checkpointing=True)),
    Case("SmolLM2 135M", SMOLLM2_135M, recipe(FULL, BITS16, 2, 384)),
    Case("SmolLM2 135M", SMOLLM2_135M, recipe(FULL, FLOAT32, 1, 512, checkpointing=True)),
    Case("Qwen2 190M", QWEN2, recipe(LORA, BITS16, 1, 384)),
    Case("SmolLM2 360M", SMOLLM2_360M, recipe(LORA, BITS16, 1, 768, checkpointing=True, rank=32)),
    Case("GPT-2 Medium", GPT2_MEDIUM, recipe(LORA, FLOAT32, 1, 256, rank=8)),
    Case("SmolLM2 360M", SMOLLM2_360M, recipe(QLORA, BITS16, 1, 384)),
    Case("GPT-2 Medium", GPT2_MEDIUM, recipe(QLORA, BITS16, 1, 512, checkpointing=True)),
    Case("SmolLM2 360M", SMOLLM2_360M, recipe(INFERENCE, BITS16, 4, 512)),
    Case("GPT-2 Medium", GPT2_MEDIUM, recipe(INFERENCE, FLOAT32, 1, 1024)),
)
TINY = llama(2, 64, 192, (4, 4), 256)
CONSTANTS = (
    Case("constant", TINY, recipe(FULL, FLOAT32, 1, 32)),
    Case("constant", TINY, recipe(LORA, BITS16, 1, 32)),
    Case("constant", TINY, recipe(QLORA, BITS16, 1, 32)),
    Case("constant", TINY, recipe(INFERENCE, BITS16, 1, 32)),
)


@dataclasses.dataclass(frozen=True)
class Row:
    """What was planned and what was measured, bytes; `reserved` on CUDA alone."""

    case: Case
    planned: Plan
    measured: int
    reserved: int

    @property
    def error(self) -> float:
        return self.planned.total / self.measured - 1

    @property
    def error_without_framework(self) -> float:
        constant = framework(self.planned.recipe).size
        return self.planned.tensor_bytes / (self.measured - constant) - 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="four small configurations instead of all")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where to train")
    parser.add_argument("--target", type=Path, default=ROOT / ".venv-train" / "bin" / "python")
    options = parser.parse_args()
    device = Device(options.device)
    cases = QUICK if options.quick else (*CONSTANTS, *ALL)
    missing = missing_packages(options.target)
    print(f"{'model':18} {'parameters':>11} {'what':38} {'planned':>9} {'measured':>9} {'error':>7} ", end="")
    print(f"{'without framework':>18}{'  reserved' if device is Device.CUDA else ''}")
    rows = []
    for case in cases:
        if lacking := missing & needed(case.recipe):
            print(
                f"{case.name:18} {words(case.recipe)}: skipped, not installed: {', '.join(sorted(lacking))}"
            )
            continue
        row = measured(dataclasses.replace(case, recipe=on(case.recipe, device)), options.target)
        print(line(row), flush=True)
        rows += [] if case in CONSTANTS else [row]
    figure = statistics.median(abs(row.error) for row in rows)
    print(f"worst of {len(rows)}: {max((row.error for row in rows), key=abs):+.1%}")
    print(json.dumps(verdict(figure, device)))
    return 0


def on(asked: Recipe, device: Device) -> Recipe:
    return dataclasses.replace(asked, device=device)


def needed(asked: Recipe) -> set[str]:
    """Packages beside torch and transformers."""
    return {
        *(["peft"] if asked.has_adapters else []),
        *(["bitsandbytes"] if asked.method is QLORA else []),
    }


def missing_packages(target: Path) -> set[str]:
    names = ["peft", "bitsandbytes"]
    code = "import importlib.util, sys; print(*(n for n in sys.argv[1:] if not importlib.util.find_spec(n)))"
    found = subprocess.run([str(target), "-c", code, *names], check=True, capture_output=True, text=True)
    return set(found.stdout.split())


def measured(case: Case, target: Path) -> Row:
    """Runs the case; SystemExit with the process's own words when it fails."""
    asked = case.recipe
    request = {
        "config": case.config,
        "method": asked.method.value,
        "dtype": asked.dtype.value,
        "device": asked.device.value,
        "batch": asked.batch,
        "sequence": asked.sequence,
        "rank": asked.rank,
        "checkpointing": asked.checkpointing,
    }
    ended = subprocess.run(
        [str(target), str(PROCESS), json.dumps(request)],
        capture_output=True,
        text=True,
        env={**os.environ, **SURROUNDINGS},
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    if ended.returncode != 0:
        raise SystemExit(
            f"{case.name}, {words(asked)} ended with {ended.returncode}:\n{ended.stderr[-2000:]}"
        )
    answer = json.loads(ended.stdout.splitlines()[-1])
    planned = plan(case.architecture, asked)
    return Row(case, planned, answer["peak_bytes"], answer.get("reserved_bytes", 0))


def words(asked: Recipe) -> str:
    checkpointing = " ckpt" if asked.checkpointing else ""
    return f"{asked.method.value} {asked.dtype.value}{checkpointing} {asked.batch}x{asked.sequence}"


def line(row: Row) -> str:
    case = row.case
    start = f"{case.name:18} {case.architecture.parameters:>11,} {words(case.recipe):38}"
    if case.name == "constant":
        seen = row.measured - row.planned.tensor_bytes
        return (
            f"{start} framework {seen / 1e6:.0f} MB, in the catalogue {framework(case.recipe).size / 1e6:.0f}"
        )
    reserved = f"  {row.reserved / 1e6:8.0f}" if row.reserved else ""
    figures = f"{row.planned.total / 1e6:9.0f} {row.measured / 1e6:9.0f} {row.error:+7.1%}"
    return f"{start} {figures} {row.error_without_framework:+18.1%}{reserved}"


def verdict(figure: float, device: Device) -> dict[str, object]:
    return {
        "benchmark": "plan_accuracy" if device is Device.CPU else f"plan_accuracy_{device.value}",
        "figure": round(figure, 4),
        "unit": "median absolute relative error",
        "target": f"<= {TARGET:.2f}",
        "holds": figure <= TARGET,
    }


if __name__ == "__main__":
    sys.exit(main())
