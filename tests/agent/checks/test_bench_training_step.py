"""bench_training_step and bench_lora: steps that train are timed whole and by phase, others have no speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import CheckRunner

pytestmark = pytest.mark.training

SMALL = {"texts": 2, "trial_seconds": 0.005, "cooldown_seconds": 0.0}
TRAINING = {**SMALL, "families": ["gpt2", "llama"], "matmul_size": 64}
SMALL_SHAPES = """
from llmenv_probe import workloads
small = {"width": 32, "layers": 1, "heads": 2, "vocabulary": 64, "length": 16}
workloads.TRAINING_ON_CPU = {
    name: shape._replace(**small) for name, shape in workloads.TRAINING_ON_CPU.items()
}
"""
WRONG_SILU = """
silu = functional.silu
def wrong(*each):
    return silu(each[-1]) + 0.1 * (each[-1].dtype == torch.float32)
functional.silu = torch.nn.SiLU.forward = wrong
"""
PHASES = ("forward_seconds", "backward_seconds", "optimizer_seconds")


def test_steps_are_timed_whole_and_by_phase(run_check: CheckRunner) -> None:
    """Tokens a second, three phases and a share of the peak, of a loss that fell."""
    observed = run_check("bench_training_step", TRAINING, planted=SMALL_SHAPES)
    assert observed.cases == {"gpt2/float32": "pass", "llama/float32": "pass"}, observed.reason
    for case in observed.result.cases:
        measured = {each.name: each for each in case.measurements}
        for name in ("tokens_per_second", *PHASES):
            assert len(measured[name].trials) == 10
        assert measured["last_loss"].value < measured["first_loss"].value
        assert 0 < measured["share_of_measured_peak"].value < 1
        # By the fastest and the slowest: of medians of tiny steps a busy machine makes anything.
        whole = [2 * 16 / rate for rate in measured["tokens_per_second"].trials]
        parts = [sum(phases) for phases in zip(*(measured[name].trials for name in PHASES), strict=True)]
        assert 0 < min(parts) < 5 * max(whole)
        assert min(whole) < 5 * max(parts)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("torch.optim.AdamW.step = lambda self: None", "The timed steps did not train"),
        ("torch.Tensor.backward = lambda self: None", "The timed steps did not train"),
        (
            WRONG_SILU,
            "What was timed computes wrong",
        ),
    ],
)
def test_steps_that_do_not_train_have_no_speed(run_check: CheckRunner, fault: str, reason: str) -> None:
    """An optimizer or a backward pass that does nothing, and a layer that computes wrong in float32 alone."""
    planted = f"{SMALL_SHAPES}\nimport torch\nfrom torch.nn import functional\n{fault}"
    observed = run_check("bench_training_step", {**TRAINING, "families": ["llama"]}, planted=planted)
    assert observed.cases == {"llama/float32": "fail"}
    assert observed.result.cases[0].reason.text.startswith(reason)


def test_lora_is_timed(run_check: CheckRunner) -> None:
    """The adapter learns and the base stays."""
    observed = run_check("bench_lora", SMALL, planted=SMALL_SHAPES)
    assert observed.cases == {"llama/float32": "pass"}, observed.result.cases[0].reason.text
    measured = {each.name: each for each in observed.result.cases[0].measurements}
    for name in ("tokens_per_second", *PHASES):
        assert len(measured[name].trials) == 10


def test_lora_that_trains_the_base_has_no_speed(run_check: CheckRunner) -> None:
    """A base that learns along is not LoRA, and lowers the loss all the same."""
    planted = f"""{SMALL_SHAPES}
import peft
right = peft.get_peft_model
def unfrozen(*arguments):
    model = right(*arguments)
    model.requires_grad_(True)
    return model
peft.get_peft_model = unfrozen
"""
    observed = run_check("bench_lora", SMALL, planted=planted)
    assert observed.cases == {"llama/float32": "fail"}
    assert observed.result.cases[0].reason.text == "Training the adapter changed the base weights."
