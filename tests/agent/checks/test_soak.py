"""soak: a machine that holds its speed passes; one that throttles or leaks is told so, with the figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from llmenv.fleet.v1 import result_pb2

if TYPE_CHECKING:
    from conftest import CheckRunner

pytestmark = pytest.mark.training

SHORT = {"seconds": 2.0, "window_seconds": 0.1, "texts": 1}
SMALL_SHAPE = """
from llmenv_probe import workloads
small = {"width": 32, "layers": 1, "heads": 2, "vocabulary": 64, "length": 16}
workloads.TRAINING_ON_CPU = {"llama": workloads.TRAINING_ON_CPU["llama"]._replace(**small)}
"""


def windows(rate: str, peak_bytes: str = "1e9", *, count: int = 40) -> str:
    """Real steps, in windows whose figures are those given, so that no noise of this machine decides."""
    return f"""{SMALL_SHAPE}
def constructed(probe, step):
    step()
    return [_Window({rate}, {peak_bytes}) for index in range({count})]
globals()["_soak"] = constructed
"""


def test_real_windows_are_trials_in_order(run_check: CheckRunner) -> None:
    """Of steps that trained, as many as there was time for; this machine's noise makes the verdict."""
    observed = run_check("soak", SHORT, planted=SMALL_SHAPE)
    assert observed.status in {"pass", "warn"}, observed.reason
    rate = next(each for each in observed.result.measurements if each.name == "tokens_per_second")
    assert 1 <= len(rate.trials) <= 20
    assert all(each > 0 for each in rate.trials)
    assert observed.measured["last_loss"] < observed.measured["first_loss"]
    assert observed.measured["memory_growth"] >= 0


def test_machine_that_holds_its_speed_passes(run_check: CheckRunner) -> None:
    """Windows that differ by two percent, without a trend."""
    observed = run_check("soak", SHORT, planted=windows("100 + index % 3"))
    assert observed.status == "pass", observed.reason
    assert observed.reason.startswith("Held 101.0 tokens/s over 40 windows, ")
    assert observed.measured["trend_p_value"] > 0.001
    rate = next(each for each in observed.result.measurements if each.name == "tokens_per_second")
    assert rate.stability == result_pb2.STABILITY_STABLE
    assert list(rate.trials)[:4] == pytest.approx([100, 101, 102, 100])


@pytest.mark.parametrize("rate", ["100 - index / 2 + index % 3", "100 if index < 15 else 80 - index % 3"])
def test_machine_that_throttles_is_told_how_much_it_lost(run_check: CheckRunner, rate: str) -> None:
    """Bit by bit, or all at once in the middle: the share lost, and a series marked as declining."""
    observed = run_check("soak", SHORT, planted=windows(rate))
    assert observed.status == "warn", observed.reason
    assert observed.reason.startswith("Throttles: the last quarter of the windows was ")
    assert observed.result.remedy_id == "KI112"
    assert observed.measured["lost_share"] == pytest.approx(
        {"100 -": 0.152, "100 i": 0.21}[rate[:5]], abs=0.01
    )
    assert observed.measured["trend_p_value"] < 0.001
    throughput = next(each for each in observed.result.measurements if each.name == "tokens_per_second")
    assert throughput.stability == result_pb2.STABILITY_DECLINING


def test_training_that_leaks_is_told_how_much(run_check: CheckRunner) -> None:
    """Eight MiB kept with every window: 29 of them after the first quarter."""
    observed = run_check("soak", SHORT, planted=windows("100", "1e9 + index * 2**23"))
    assert observed.status == "warn"
    assert observed.reason.startswith("Memory grows while training: the peak rose by 0.24 GB")
    assert observed.result.remedy_id == "KI113"
    assert observed.measured["memory_growth"] == 29 * 2**23


def test_too_few_windows_are_no_verdict(run_check: CheckRunner) -> None:
    """Eleven cannot show a trend, and that is no pass."""
    observed = run_check("soak", SHORT, planted=windows("100", count=11))
    assert observed.status == "warn"
    assert observed.reason == "11 windows are too few to say whether the speed falls: 12 are needed."
    assert observed.result.remedy_id == "KI114"


def test_steps_that_do_not_train_have_no_speed(run_check: CheckRunner) -> None:
    """An optimizer that does nothing holds its speed well."""
    planted = windows("100") + "\nimport torch\ntorch.optim.AdamW.step = lambda self: None"
    observed = run_check("soak", SHORT, planted=planted)
    assert observed.status == "fail"
    assert observed.reason.startswith("The timed steps did not train")
