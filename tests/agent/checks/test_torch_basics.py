"""torch_basics: right figures pass, and one wrong element, term or gradient is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import CheckRunner, Observed

pytestmark = pytest.mark.training


def test_cpu_computes_right_and_says_by_how_much(observed: Observed) -> None:
    """Every product and gradient is within its bound and above zero, so it was computed; trials are kept."""
    assert observed.status == "pass", observed.reason
    assert observed.unmet == []
    errors = {name: value for name, value in observed.measured.items() if name.endswith("_error")}
    assert set(errors) == {
        "matmul_float32_error",
        "matmul_float16_error",
        "matmul_bfloat16_error",
        "gradient_square_error",
        "gradient_sum_error",
    }
    assert 0 < errors["matmul_float32_error"] < 5e-6
    assert 1e-5 < errors["matmul_float16_error"] < errors["matmul_bfloat16_error"]
    timing = next(each for each in observed.result.measurements if each.name == "matmul_float32_seconds")
    assert (len(timing.trials), len(timing.warmups)) == (5, 2)
    assert sorted(timing.trials)[2] == timing.value
    assert observed.result.peak_memory.process_bytes > 12e6, "three matrices of 4 MB"
    assert observed.facts["bf16_supported"] is True


def test_one_wrong_row_of_a_product_fails(run_check: CheckRunner) -> None:
    """A product with one row in a thousand off by a thousandth is wrong, not noise."""
    planted = """
        import torch
        right = torch.matmul
        def wrong(left, other):
            product = right(left, other).clone()
            product[7] *= 1.001 if product.dtype == torch.float32 else 1
            return product
        torch.matmul = wrong
    """
    observed = run_check("torch_basics", planted=planted)
    assert observed.status == "fail"
    assert "matmul_float32" in observed.unmet
    assert observed.reason.startswith("matmul_float32: expected relative error <= 5e-05")


def test_one_lost_term_of_fifty_thousand_fails(run_check: CheckRunner) -> None:
    """A sum over the vocabulary that loses its last term is below every tolerance, and is found by ones."""
    planted = """
        import torch
        right = torch.Tensor.__matmul__
        lossy = lambda a, b: right(a[:, :-1], b[:-1])
        torch.Tensor.__matmul__ = lambda a, b: (lossy if a.shape[1] == 50257 else right)(a, b)
    """
    observed = run_check("torch_basics", planted=planted)
    assert observed.unmet == ["ones_matmul_vocabulary"]
    assert observed.reason == "ones_matmul_vocabulary: expected every element 50257, observed 50256."


def test_wrong_gradient_of_a_right_value_fails(run_check: CheckRunner) -> None:
    """A product with the right value and twice the gradient fails in the gradients alone."""
    planted = """
        import torch
        right = torch.matmul
        torch.matmul = lambda a, b: right(a, 2 * b - b.detach()) if b.requires_grad else right(a, b)
    """
    observed = run_check("torch_basics", planted=planted)
    assert observed.unmet == ["gradient_square", "gradient_sum"]


def test_gradient_that_is_not_there_fails(run_check: CheckRunner) -> None:
    """A backward pass that leaves no gradient is a wrong gradient, not a fault of the check."""
    planted = """
        import torch
        torch.Tensor.backward = lambda self: None
    """
    observed = run_check("torch_basics", planted=planted)
    assert (observed.status, observed.unmet) == ("fail", ["gradient_square", "gradient_sum"])


def test_not_a_number_fails(run_check: CheckRunner) -> None:
    """A NaN compares with nothing, and is no pass."""
    planted = """
        import torch
        right = torch.matmul
        torch.matmul = lambda a, b: right(a, b) * float("nan")
    """
    observed = run_check("torch_basics", planted=planted)
    assert observed.status == "fail"
    assert "matmul_float16" in observed.unmet


def test_refused_bf16_is_a_warning_with_its_remedy(run_check: CheckRunner) -> None:
    """What macOS 13 says of BF16 makes a warning; the rest is still judged."""
    planted = """
        import torch
        right = torch.matmul
        def refusing(a, b):
            if a.dtype == torch.bfloat16:
                raise TypeError("MPS BFloat16 is only supported on MacOS 14 or newer")
            return right(a, b)
        torch.matmul = refusing
    """
    observed = run_check("torch_basics", planted=planted)
    assert (observed.status, observed.result.remedy_id) == ("warn", "KI075")
    assert observed.facts["bf16_supported"] is False
    assert "gradient_square" in observed.met


def test_absent_mps_fails_and_nothing_runs_on_the_cpu(run_check: CheckRunner) -> None:
    """Without MPS the verdict is fail, with no measurement in its place."""
    observed = run_check("torch_basics", device="mps")
    assert observed.status == "fail"
    assert observed.reason.startswith("MPS cannot be used by torch ")
    assert observed.measured == {}


def test_missing_torch_is_an_error_that_names_it(run_check_without_packages: CheckRunner) -> None:
    """An interpreter without packages gets an error, not a failure."""
    observed = run_check_without_packages("torch_basics")
    assert (observed.status, observed.result.error.missing) == ("error", "torch")
    assert observed.reason == "The package torch is not installed in this environment."
