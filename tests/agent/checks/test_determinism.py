"""determinism: the same seed gives the same, and each thing that would not is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import CheckRunner

pytestmark = pytest.mark.training

# What needs no second process.
ALONE = """
    global _train_in_second_process
    def _train_in_second_process(probe):
        return _train(probe)
"""


def test_same_seed_gives_the_same_to_the_bit(run_check: CheckRunner) -> None:
    """On the CPU, here and in a second process."""
    observed = run_check("determinism")
    assert observed.status == "pass", observed.reason
    assert observed.facts["bit_identical"] is True
    assert observed.met == [
        "forward_repeats",
        "dropout_repeats",
        "dropout_follows_seed",
        "order_repeats",
        "training_repeats",
        "second_process_repeats",
    ]


def test_generator_that_ignores_its_seed_fails(run_check: CheckRunner) -> None:
    """Dropout that nobody can repeat makes other weights each time."""
    planted = f"""{ALONE}
    import torch
    torch.manual_seed = lambda seed: torch.seed()
    """
    observed = run_check("determinism", planted=planted)
    assert {"dropout_repeats", "training_repeats", "second_process_repeats"} <= set(observed.unmet)


def test_generator_that_always_drops_the_same_fails(run_check: CheckRunner) -> None:
    """Whatever the seed, it begins at the same place."""
    planted = f"""{ALONE}
    import torch
    right = torch.manual_seed
    torch.manual_seed = lambda seed: right(0)
    """
    assert run_check("determinism", planted=planted).unmet == ["dropout_follows_seed"]


def test_forward_pass_and_order_that_change_fail(run_check: CheckRunner) -> None:
    """A last bit that changes from pass to pass, and a DataLoader that shuffles as it likes."""
    planted = f"""{ALONE}
    import torch, transformers
    forward, passes = transformers.LlamaForCausalLM.forward, []
    def unsteady(self, *arguments, **options):
        output = forward(self, *arguments, **options)
        passes.append(None)
        output.logits = output.logits * (1 + 1e-6 * (len(passes) % 2))
        return output
    transformers.LlamaForCausalLM.forward = unsteady
    global _loader
    loader = _loader
    def _loader(probe):
        shuffled = loader(probe)
        shuffled.generator.seed()
        return shuffled
    """
    observed = run_check("determinism", planted=planted)
    assert {"forward_repeats", "order_repeats"} <= set(observed.unmet)


def test_second_process_that_trains_otherwise_fails(run_check: CheckRunner) -> None:
    """A learning rate of another environment in that process alone."""
    planted = """
        if "output" in probe.parameters:
            probe.parameters["learning_rate"] *= 1.0001
    """
    assert run_check("determinism", planted=planted).unmet == ["second_process_repeats"]


def test_away_from_the_cpu_a_rounding_is_allowed_and_said(run_check: CheckRunner) -> None:
    """A second training that differs by a rounding passes; the sentence does not call it the same."""
    planted = """
    global _train_in_second_process
    def _train_in_second_process(probe):
        return _train(probe, nudged_by=7)
    probe.device = "cuda"
    """
    observed = run_check("determinism", planted=planted)
    assert observed.status == "pass", observed.reason
    assert observed.facts["bit_identical"] is False
    assert observed.reason.endswith("as rounding may; they are not the same to the bit.")


def test_away_from_the_cpu_more_than_rounding_fails(run_check: CheckRunner) -> None:
    """Weights that are a hundredth away are no rounding."""
    planted = """
    global _train_in_second_process
    def _train_in_second_process(probe):
        return {name: 1.01 * each for name, each in _train(probe).items()}
    probe.device = "cuda"
    """
    assert run_check("determinism", planted=planted).unmet == ["second_process_repeats"]
