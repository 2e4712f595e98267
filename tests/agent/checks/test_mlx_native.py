"""mlx_native: right figures pass, wrong ones fail, and what a version lacks is a fact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from llmenv_agent.checks.mlx_native import _bound

if TYPE_CHECKING:
    from conftest import CheckRunner, Observed

pytestmark = pytest.mark.training


def test_mlx_computes_and_learns(observed: Observed) -> None:
    """Products, gradient and layer are right, TinyNet learns, and the default device is named."""
    assert observed.status == "pass", observed.reason
    assert {"matmul", "gradient", "linear", "random_normal", "parameters", "loss_falls"} <= set(observed.met)
    assert 0 < observed.measured["matmul_error"] < 1e-5
    assert observed.measured["last_loss"] < 0.5
    assert observed.measured["first_loss"] > 2
    assert observed.facts["default_device"] == "Device(cpu, 0)"
    assert observed.measured["mlx_peak_memory"] > 74_826 * 4


def test_list_devices_is_a_fact_and_no_failure(run_check: CheckRunner) -> None:
    """The reference report failed on a function that no version of MLX ever had."""
    facts = run_check("mlx_native", {"steps": 40, "learning_rate": 3e-3}).facts
    assert (facts["has_list_devices"], facts["has_default_device"]) == (False, True)


def test_learning_rate_of_zero_fails(run_check: CheckRunner) -> None:
    """A network that does not learn fails in the loss, and in not having moved."""
    observed = run_check("mlx_native", brief={"learning_rate": 0.0})
    assert (observed.status, observed.unmet) == ("fail", ["loss_falls", "all_parameters_learn"])


@pytest.mark.parametrize(
    ("planted", "unmet"),
    [
        (
            "from mlx import nn\nright = nn.Linear.__call__\nnn.Linear.__call__ = lambda *a: right(*a) * 1.1",
            "linear",
        ),
        ("import mlx.core as mx\nright = mx.square\nmx.square = lambda x: right(x) * 1.001", "gradient"),
        (
            "import mlx.core as mx\nright = mx.ones\nmx.ones = lambda shape: right(shape) * 1.001",
            "ones_matmul",
        ),
        ("import mlx.core as mx\nright = mx.var\nmx.var = lambda x: right(x) * 1.1", "random_normal"),
    ],
)
def test_wrong_value_fails(run_check: CheckRunner, planted: str, unmet: str) -> None:
    """Each figure is judged: a value off by a thousandth, or a variance off by a tenth, fails by its name."""
    observed = run_check("mlx_native", planted=planted)
    assert observed.status == "fail"
    assert unmet in observed.unmet


def test_bound_knows_chips_that_round_to_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    """FP32 is held to 1e-4, but for the M5 and later while MLX_ENABLE_TF32 is on."""
    monkeypatch.delenv("MLX_ENABLE_TF32", raising=False)
    assert [_bound(name) for name in ("Apple M4 Max", "Apple M5", "Apple M6 Pro", "AMD EPYC", "")] == [
        1e-4,
        2e-2,
        2e-2,
        1e-4,
        1e-4,
    ]
    monkeypatch.setenv("MLX_ENABLE_TF32", "0")
    assert _bound("Apple M5") == 1e-4


def test_absent_mlx_is_skipped_away_from_apple_silicon(run_check_without_packages: CheckRunner) -> None:
    """On Linux without MLX the question does not apply; with macOS reported it is an error that names MLX."""
    observed = run_check_without_packages("mlx_native")
    assert (observed.status, observed.reason) == (
        "skip",
        "MLX is not installed, and this is not Apple Silicon.",
    )
    planted = """
        import platform
        platform.system, platform.machine = lambda: "Darwin", lambda: "arm64"
    """
    observed = run_check_without_packages("mlx_native", planted=planted)
    assert (observed.status, observed.result.error.missing) == ("error", "mlx")
