"""leak: memory that stays level passes, and a reference kept at every step fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from llmenv_agent.probe.slope import theil_sen

if TYPE_CHECKING:
    from conftest import CheckRunner

FEWER = {"blocks": 8, "warmup_blocks": 3}
LOGITS_OF_A_STEP = 4 * 64 * 2048 * 4


@pytest.mark.training
def test_memory_stays_level_on_the_cpu(run_check: CheckRunner) -> None:
    """No case grows by the bound; the series has a value a block, the warm-up apart."""
    observed = run_check("leak")
    assert observed.status == "pass", observed.reason
    assert observed.cases == {"fixed_shape": "pass", "changing_shapes": "pass", "recurrent": "pass"}
    assert observed.facts["process_memory_source"] == "VmRSS"
    for case in observed.result.cases:
        series, growth = case.measurements
        assert (series.name, len(series.trials), len(series.warmups)) == ("process_memory", 16, 4)
        assert min(series.trials) > 50e6
        assert growth.value < LOGITS_OF_A_STEP / 8
        assert case.facts[0].number == LOGITS_OF_A_STEP / 8


@pytest.mark.training
def test_output_that_is_kept_fails(run_check: CheckRunner) -> None:
    """One reference to each step's logits: the slope is their size, in every case."""
    planted = """
        global _step
        step, kept = _step, []
        def _step(*arguments):
            kept.append(step(*arguments).detach())
    """
    observed = run_check("leak", FEWER, planted=planted)
    assert set(observed.cases.values()) == {"fail"}
    assert observed.status == "fail"
    growth = {case.name: case.measurements[1].value for case in observed.result.cases}
    assert growth["fixed_shape"] == pytest.approx(LOGITS_OF_A_STEP, rel=0.1)
    assert growth["recurrent"] == pytest.approx(LOGITS_OF_A_STEP, rel=0.1)
    assert 0.25 * LOGITS_OF_A_STEP < growth["changing_shapes"] < LOGITS_OF_A_STEP
    assert observed.result.cases[0].reason.text.startswith(
        f"process_memory grows by {growth['fixed_shape']:,.0f} bytes a step over 40 steps; "
    )


@pytest.mark.training
def test_memory_outside_of_python_fails(run_check: CheckRunner) -> None:
    """As in KI013, no tensor and no object is left: the C library's memory alone grows."""
    planted = """
        import ctypes
        library = ctypes.CDLL(None)
        library.malloc.restype = ctypes.c_void_p
        library.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
        global _step
        step = _step
        def _step(*arguments):
            step(*arguments)
            library.memset(library.malloc(1_000_000), 1, 1_000_000)
    """
    observed = run_check("leak", FEWER, planted=planted)
    assert set(observed.cases.values()) == {"fail"}
    assert [case.measurements[1].value for case in observed.result.cases] == pytest.approx([1e6] * 3, rel=0.1)


@pytest.mark.training
def test_single_jump_is_no_leak(run_check: CheckRunner) -> None:
    """A cache that fills once, 50 MB in the middle, does not move the slope over the bound."""
    planted = """
        global _step
        step, kept, calls = _step, [], []
        def _step(*arguments):
            step(*arguments)
            calls.append(None)
            if len(calls) == 45:
                kept.append(b"x" * 50_000_000)
    """
    observed = run_check("leak", planted=planted)
    assert observed.cases["fixed_shape"] == "pass", observed.reason
    trials = observed.result.cases[0].measurements[0].trials
    assert max(trials) - min(trials) > 40e6


def test_slope_is_that_of_theil_and_sen() -> None:
    """Of a straight line its slope, whatever two outliers of ten say; of one value none."""
    line = [3.0 * index for index in range(10)]
    assert theil_sen(line) == 3.0
    assert theil_sen([*line[:4], 500.0, *line[5:8], -900.0, line[9]]) == 3.0
    assert theil_sen([1.0]) == 0.0
