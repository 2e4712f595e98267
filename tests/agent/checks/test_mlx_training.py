"""mlx_training: gradients, steps, learning and resumption pass here, and each fails when it is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import CheckRunner

pytestmark = pytest.mark.training

SHORT = {"steps": 40, "resumed_steps": 2}
ONLY_ADAM = """
global METHODS, _gradients_case
METHODS = METHODS[1:2]
_gradients_case = lambda probe, rows: None
"""

# A fault, the case that finds it and the beginning of what it says.
FAULTS = {
    "loss": (
        """
global METHODS
METHODS = ()
right = mlx_transformer.loss
mlx_transformer.loss = lambda *arguments: right(*arguments) * 1.001
""",
        "gradients",
        "The loss differs from float64 by",
    ),
    "gradient of one tensor": (
        """
global METHODS
METHODS = ()
import mlx.core as mx
from mlx import nn
norm = nn.LayerNorm.__call__
nn.LayerNorm.__call__ = lambda self, x: norm(self, mx.stop_gradient(x) * 0.01 + x * 0.99)
""",
        "gradients",
        "The gradient of ",
    ),
    "first step": (
        ONLY_ADAM
        + """
from mlx import optimizers
build = optimizers.Adam.__init__
optimizers.Adam.__init__ = lambda self, **options: build(self, bias_correction=True, **options)
""",
        "Adam",
        "The first step differs from its formula in float64 by",
    ),
    "labels that cannot be learned": (
        ONLY_ADAM
        + """
global permutation_tokens
tokens = permutation_tokens
permutation_tokens = lambda *arguments, **options: tokens(*arguments, noise=1.0, **options)
""",
        "Adam",
        "The loss on unseen sequences ended at",
    ),
    "optimizer state lost": (
        ONLY_ADAM
        + """
import mlx.core as mx
load = mx.load
mx.load = lambda path: {
    name: array * (0 if name.endswith(".m") else 1) for name, array in load(path).items()
}
""",
        "Adam",
        "Saved and resumed, training went on to other weights",
    ),
}


def test_every_optimizer_is_right_and_learns(run_check: CheckRunner) -> None:
    """Gradients match float64, and three optimizers step by their formulas, learn and resume to the bit."""
    observed = run_check("mlx_training", {"steps": 80})
    assert observed.cases == dict.fromkeys(("gradients", "SGD", "Adam", "AdamW"), "pass"), observed.reason
    measured = {
        case.name: {each.name: each.value for each in case.measurements} for case in observed.result.cases
    }
    assert 0 < measured["gradients"]["gradient_error"] < 1e-5
    for name in ("SGD", "Adam", "AdamW"):
        assert measured[name]["step_error"] < 1e-6
        assert measured[name]["last_loss"] < 1.5
        assert measured[name]["resumed_error"] == 0


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found(run_check: CheckRunner, name: str) -> None:
    """The case that the fault belongs to fails, and says which property it broke."""
    code, case_name, words = FAULTS[name]
    observed = run_check("mlx_training", brief=SHORT if name == "first step" else {}, planted=code)
    assert observed.status == "fail", observed.reason
    case = next(case for case in observed.result.cases if case.name == case_name)
    assert case.reason.text.startswith(words), case.reason.text


def test_absent_mlx_is_skipped_away_from_apple_silicon(run_check_without_packages: CheckRunner) -> None:
    """Without MLX the question does not apply here."""
    assert run_check_without_packages("mlx_training").status == "skip"
