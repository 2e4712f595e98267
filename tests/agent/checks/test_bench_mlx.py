"""bench_mlx, bench_mlx_model and bench_mlx_load: what MLX computes right is timed, on its default device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import CheckRunner

pytestmark = pytest.mark.training

QUICK = {"trial_seconds": 0.005, "cooldown_seconds": 0.0}
OPERATIONS = {**QUICK, "sizes": [32, 64], "megabytes": 1, "lengths": [16], "heads": 2, "head_width": 8}
MODEL_CASES = ("training/float32", "lora/float32", "generation/float32")
SMALL_SHAPES = """
from llmenv_probe import workloads
small = {"width": 32, "layers": 2, "heads": 4, "vocabulary": 64, "length": 16}
workloads.TRAINING_ON_CPU = {"llama": workloads.TRAINING_ON_CPU["llama"]._replace(**small)}
workloads.GENERATION_ON_CPU = workloads.GENERATION_ON_CPU._replace(**small)
"""


def test_operations_are_timed(run_check: CheckRunner) -> None:
    """Products by type and size, two of STREAM's kernels and attention, ten trials each."""
    observed = run_check("bench_mlx", OPERATIONS)
    assert observed.status == "pass", observed.reason
    assert list(observed.cases) == [
        "matmul/float32/64",
        "matmul/float32/32",
        "matmul/float16/64",
        "matmul/float16/32",
        "scale",
        "add",
        "attention/16",
    ]
    for case in observed.result.cases:
        assert [len(each.trials) for each in case.measurements if each.trials] == [10]


@pytest.mark.parametrize(
    ("fault", "failed"),
    [
        (
            "mx.fast.scaled_dot_product_attention = lambda q, k, v, scale, mask: v",
            {"attention/16"},
        ),
        ("mx.array.__matmul__ = lambda left, right: mx.zeros(left.shape)", {"matmul/float32/32"}),
        ("mx.array.__add__ = lambda left, right: left", {"add"}),
    ],
)
def test_wrong_results_have_no_speed(run_check: CheckRunner, fault: str, failed: set[str]) -> None:
    """Attention that gives the values back, a product never computed, a sum without its second term."""
    parameters = {**OPERATIONS, "dtypes": ["float32"], "sizes": [32]}
    observed = run_check("bench_mlx", parameters, planted=f"import mlx.core as mx\n{fault}")
    assert {name for name, status in observed.cases.items() if status == "fail"} == failed


def test_models_are_timed(run_check: CheckRunner) -> None:
    """A step of training and of LoRA by phase, and generation by first token and rates."""
    observed = run_check("bench_mlx_model", {**QUICK, "new_tokens": 8}, planted=SMALL_SHAPES)
    assert observed.cases == dict.fromkeys(MODEL_CASES, "pass"), observed.reason
    training, lora, generation = (
        {each.name: each for each in case.measurements} for case in observed.result.cases
    )
    for name in ("tokens_per_second", "gradient_seconds", "optimizer_seconds"):
        assert (len(training[name].trials), len(lora[name].trials)) == (10, 10)
    for name in ("first_token_seconds", "prefill_rate", "decode_rate"):
        assert len(generation[name].trials) == 10
    seconds = generation["first_token_seconds"].trials
    assert list(generation["prefill_rate"].trials) == pytest.approx([16 / each for each in seconds])


def test_models_that_do_not_learn_or_follow_their_logits_have_no_speed(run_check: CheckRunner) -> None:
    """An optimizer that does nothing, and a generator that repeats itself."""
    planted = f"""{SMALL_SHAPES}
import mlx.core as mx
from mlx import optimizers
optimizers.AdamW.update = lambda self, model, gradients: None
import importlib
generate = importlib.import_module("mlx_lm.generate")
generate.generate_step = lambda prompt, model, max_tokens: ((prompt[-1], None) for _ in range(max_tokens))
"""
    observed = run_check("bench_mlx_model", {**QUICK, "new_tokens": 8}, planted=planted)
    assert observed.cases == dict.fromkeys(MODEL_CASES, "fail")
    training, lora, generation = (case.reason.text for case in observed.result.cases)
    assert training.startswith("The timed steps did not train")
    assert lora.startswith("The timed steps did not train")
    assert generation.endswith("tokens are not those that the logits put first.")


def test_sizes_follow_the_device_that_mlx_has(run_check: CheckRunner) -> None:
    """Beside an accelerator that MLX cannot use it computes on the CPU, and gets the CPU's sizes."""
    measured = {**OPERATIONS, "dtypes": ["float32"], "sizes": None}
    observed = run_check("bench_mlx", measured, device="cuda")
    assert [name for name in observed.cases if name.startswith("matmul")] == ["matmul/float32/512"]
    generated = run_check("bench_mlx_model", {**QUICK, "new_tokens": 8}, device="cuda", planted=SMALL_SHAPES)
    assert generated.cases == dict.fromkeys(MODEL_CASES, "pass")


def test_adapters_that_move_the_base_have_no_speed(run_check: CheckRunner) -> None:
    """As where nothing is frozen."""
    planted = f"{SMALL_SHAPES}\nfrom mlx import nn\nnn.Module.freeze = lambda self, **options: self"
    observed = run_check("bench_mlx_model", {**QUICK, "new_tokens": 8}, planted=planted)
    assert observed.cases["lora/float32"] == "fail"
    reasons = {case.name: case.reason.text for case in observed.result.cases}
    assert reasons["lora/float32"] == "Training the adapter changed the base weights."


def test_loading_is_timed(run_check: CheckRunner) -> None:
    """Warm, and cold where the system forgets a file."""
    observed = run_check("bench_mlx_load", QUICK, planted=SMALL_SHAPES)
    assert observed.cases["warm"] == "pass", observed.reason
    assert observed.cases["cold"] in {"pass", "skip"}
    warm = {each.name: each for each in observed.result.cases[-1].measurements}
    assert len(warm["load_seconds"].trials) == len(warm["load_rate"].trials) == 10


def test_other_weights_than_the_saved_have_no_speed(run_check: CheckRunner) -> None:
    """A file that was read wrong, or not at all after a change."""
    planted = f"""{SMALL_SHAPES}
from mlx import nn
load = nn.Module.load_weights
def changed(self, file):
    load(self, file)
    self.model.norm.weight = self.model.norm.weight + 1
    return self
nn.Module.load_weights = changed
"""
    observed = run_check("bench_mlx_load", QUICK, planted=planted)
    assert observed.cases == {"cold": "fail", "warm": "fail"}
    assert observed.result.cases[0].reason.text == (
        "Loaded are not the saved weights: model.norm.weight differ."
    )


def test_without_mlx_there_is_nothing_to_measure(run_check_without_packages: CheckRunner) -> None:
    """A skip, not an error."""
    for check in ("bench_mlx", "bench_mlx_model", "bench_mlx_load"):
        observed = run_check_without_packages(check)
        assert (observed.status, observed.reason) == (
            "skip",
            "MLX is not installed, and this is not Apple Silicon.",
        )
