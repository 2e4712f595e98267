"""bench_memory_bandwidth: bytes are counted as STREAM counts, and what was not written is no bandwidth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import CheckRunner

pytestmark = pytest.mark.training

SMALL = {"megabytes": 1, "trial_seconds": 0.005, "cooldown_seconds": 0.0}


def test_copy_and_triad_are_counted_as_stream_counts(run_check: CheckRunner) -> None:
    """Two arrays and three, over a known time: a device that takes 20 ms more for each trial of one call."""
    planted = """
        import time
        probe.accelerator.synchronize = lambda: time.sleep(0.02)
        probe.parameters["trial_seconds"] = 0.001
        probe.machine = probe.machine._replace(bandwidth_gb_per_s=1.0)
    """
    observed = run_check("bench_memory_bandwidth", SMALL, planted=planted)
    assert observed.cases == {"copy": "pass", "triad": "pass"}
    for case, arrays in zip(observed.result.cases, (2, 3), strict=True):
        (rate, share) = case.measurements
        assert (rate.name, rate.unit, len(rate.trials)) == ("memory_bandwidth", "GB/s", 10)
        assert max(rate.trials) <= arrays * 2**20 / 1e9 / 0.02
        assert rate.value > arrays * 2**20 / 1e9 / 5
        assert (share.name, share.value) == ("share_of_bandwidth", rate.value)


@pytest.mark.parametrize(
    ("fault", "failed"),
    [
        ("torch.add = lambda *operands, alpha, out: out", "triad"),
        (
            "right = torch.add\ntorch.add = lambda *operands, alpha, out: right(*operands, alpha=1, out=out)",
            "triad",
        ),
        ("torch.Tensor.copy_ = lambda target, source: target", "copy"),
    ],
)
def test_array_that_is_not_written_right_has_no_bandwidth(
    run_check: CheckRunner, fault: str, failed: str
) -> None:
    """Untouched, or with a term lost: the elements are whole numbers and must be exact."""
    observed = run_check("bench_memory_bandwidth", SMALL, planted=f"import torch\n{fault}")
    assert observed.cases[failed] == "fail"
    reason = next(case.reason.text for case in observed.result.cases if case.name == failed)
    assert reason.startswith(f"{failed} wrote ")
