"""mlx_quantized_matmul: every kind passes here, and each of its errors fails by its own sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import CheckRunner

pytestmark = pytest.mark.training

# One kind is enough to see a fault by; with rows of 128 all group sizes divide them.
ONE_KIND = """
global BITS, GROUPS, DTYPES, ORIENTATIONS
BITS, GROUPS, DTYPES, ORIENTATIONS = (4,), (64,), ("float32",), ("transposed",)
import mlx.core as mx
"""
SMALL = {"inner": 128, "outer": 32, "rows": 3}

FAULTS = {
    "bits flipped": (
        """
right = mx.quantize
def quantize(w, **options):
    codes, scales, biases = right(w, **options)
    return codes ^ 0xF, scales, biases
mx.quantize = quantize
""",
        "Quantizing errs by",
    ),
    "rounded at a quarter": (
        """
right = mx.quantize
def quantize(w, **options):
    _, scales, biases = right(w, **options)
    scale, bias = (mx.repeat(each, 64, axis=1) for each in (scales, biases))
    codes = mx.clip(mx.floor((w - bias) / scale + 0.25), 0, 15).astype(mx.uint32)
    words = mx.sum(codes.reshape(w.shape[0], -1, 8) << (4 * mx.arange(8, dtype=mx.uint32)), axis=2)
    return words.astype(mx.uint32), scales, biases
mx.quantize = quantize
""",
        "An element is not at the nearest of its levels",
    ),
    "scales not finite": (
        """
right = mx.quantize
def quantize(w, **options):
    codes, scales, biases = right(w, **options)
    return codes, scales * float("nan"), biases
mx.quantize = quantize
""",
        "4096 quantized elements are not finite.",
    ),
    "dequantizing imprecise": (
        """
right = mx.dequantize
mx.dequantize = lambda *arguments, **options: right(*arguments, **options) * (1 + 2.0**-16)
""",
        "Dequantizing gives other values",
    ),
    "product imprecise": (
        """
right = mx.quantized_matmul
mx.quantized_matmul = lambda *arguments, **options: right(*arguments, **options) * (1 + 2.0**-12)
""",
        "The quantized product differs",
    ),
    "product of one row not a number": (
        """
right = mx.quantized_matmul
def quantized_matmul(x, *arguments, **options):
    return right(x, *arguments, **options) * (float("nan") if x.shape[0] == 1 else 1)
mx.quantized_matmul = quantized_matmul
""",
        "The quantized product differs",
    ),
}


def test_every_kind_is_right(run_check: CheckRunner) -> None:
    """4 and 8 bits, three group sizes, three types, both ways round: 36 cases."""
    observed = run_check("mlx_quantized_matmul", {"outer": 128, "inner": 128, "rows": 3})
    assert observed.status == "pass", observed.reason
    assert len(observed.cases) == 36
    assert set(observed.cases.values()) == {"pass"}
    exact = next(case for case in observed.result.cases if case.name == "4bit/group64/float32/transposed")
    measured = {each.name: each.value for each in exact.measurements}
    # Half a step is the most without MLX's shift of the grid, and one with it.
    assert 0.5 < measured["quantization_error"] < 1
    assert 0 < measured["product_error"] < 1e-6


@pytest.mark.parametrize("name", FAULTS)
def test_each_error_fails_by_its_own_sentence(run_check: CheckRunner, name: str) -> None:
    """A fault in one operation is found in that operation."""
    fault, words = FAULTS[name]
    observed = run_check("mlx_quantized_matmul", SMALL, planted=ONE_KIND + fault)
    assert observed.status == "fail", observed.reason
    (case,) = observed.result.cases
    assert case.reason.text.startswith(words), case.reason.text


def test_rows_that_are_no_whole_groups_are_skipped(run_check: CheckRunner) -> None:
    """MLX refuses them, and so does the case, with the figures."""
    observed = run_check("mlx_quantized_matmul", {**SMALL, "inner": 96}, planted=ONE_KIND)
    assert observed.cases == {"4bit/group64/float32/transposed": "skip"}
