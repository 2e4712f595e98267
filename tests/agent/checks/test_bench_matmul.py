"""bench_matmul: right products are timed and held against peaks; wrong, missing or unwaited ones are not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from llmenv.fleet.v1 import result_pb2

if TYPE_CHECKING:
    from conftest import CheckRunner

pytestmark = pytest.mark.training

SMALL = {"dtypes": ["float32"], "sizes": [64, 128], "trial_seconds": 0.005, "cooldown_seconds": 0.0}


def test_products_are_timed_largest_first(run_check: CheckRunner) -> None:
    """Ten raw trials and the warm-ups apart, the size in the parameters, the order in the facts."""
    observed = run_check("bench_matmul", {**SMALL, "dtypes": ["float32", "bfloat16"]})
    assert observed.status == "pass", observed.reason
    assert list(observed.cases) == ["float32/128", "float32/64", "bfloat16/128", "bfloat16/64"]
    for position, case in enumerate(observed.result.cases, start=1):
        rate = next(each for each in case.measurements if each.name == "matmul_rate")
        assert len(rate.trials) == 10
        assert len(rate.warmups) >= 1
        assert rate.value > 0
        assert case.facts[0].number == position
    assert json.loads(observed.result.cases[1].parameters_json) == {"dtype": "float32", "size": 64}


def test_rate_is_held_against_both_peaks(run_check: CheckRunner) -> None:
    """The chip's computed peak in float32 alone, and the rate of the largest size measured before."""
    planted = "probe.machine = probe.machine._replace(fp32_tflops=0.5)"
    observed = run_check("bench_matmul", {**SMALL, "dtypes": ["float32", "bfloat16"]}, planted=planted)
    large, small, half, _ = (
        {each.name: each.value for each in case.measurements} for case in observed.result.cases
    )
    assert large["share_of_computed_peak"] == pytest.approx(large["matmul_rate"] / 0.5e12)
    assert small["share_of_measured_peak"] == pytest.approx(small["matmul_rate"] / large["matmul_rate"])
    assert "share_of_measured_peak" not in large
    assert "share_of_computed_peak" not in half


@pytest.mark.parametrize(
    "product", ["out", "out.copy_(right(*pair) * 1.001)", "out.copy_(right(*pair)).fill_diagonal_(1e9)"]
)
def test_wrong_product_has_no_speed(run_check: CheckRunner, product: str) -> None:
    """One that is never computed is fastest; one that is a little wrong is as fast as a right one."""
    planted = f"""
        import torch
        right = torch.mm
        torch.mm = lambda *pair, out: {product}
    """
    observed = run_check("bench_matmul", {**SMALL, "sizes": [64]}, planted=planted)
    assert (observed.status, observed.cases) == ("fail", {"float32/64": "fail"})
    assert observed.result.cases[0].reason.text.startswith("What was timed computes wrong")
    assert "matmul_rate" not in {each.name for each in observed.result.cases[0].measurements}


def test_trials_end_when_the_device_has_ended(run_check: CheckRunner) -> None:
    """A device that works while it is waited for: the rate is that of the waiting."""
    planted = """
        import time
        probe.accelerator.synchronize = lambda: time.sleep(0.02)
    """
    observed = run_check("bench_matmul", {**SMALL, "sizes": [64]}, planted=planted)
    rate = next(each for each in observed.result.cases[0].measurements if each.name == "matmul_rate")
    assert max(rate.trials) <= 2 * 64**3 / 0.02


def test_device_that_gets_slow_in_the_middle_is_marked(run_check: CheckRunner) -> None:
    """Five trials in, a product takes longer by its own time and more."""
    planted = """
        import time, torch
        right, calls = torch.mm, []
        def slowing(*pair, out):
            calls.append(None)
            time.sleep(0.01 if len(calls) < 12 else 0.05)
            return right(*pair, out=out)
        torch.mm = slowing
    """
    observed = run_check("bench_matmul", {**SMALL, "sizes": [64]}, planted=planted)
    rate = next(each for each in observed.result.cases[0].measurements if each.name == "matmul_rate")
    assert rate.stability in {result_pb2.STABILITY_UNSTABLE, result_pb2.STABILITY_DECLINING}


def test_what_does_not_fit_is_skipped_with_the_arithmetic(run_check: CheckRunner) -> None:
    """On a machine with little left, each case says what it would need, and the check is a skip."""
    planted = "probe.machine = probe.machine._replace(available_bytes=300_000)"
    observed = run_check("bench_matmul", SMALL, planted=planted)
    assert observed.cases == {"float32/128": "skip", "float32/64": "pass"}
    observed = run_check("bench_matmul", {**SMALL, "sizes": [128]}, planted=planted)
    assert (observed.status, observed.cases) == ("skip", {"float32/128": "skip"})
    assert "(3 x 4 + 8) bytes x 128^2" in observed.reason
