"""ops: every row passes on a sound CPU, rows can be chosen, and what a device lacks is named."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from llmenv.catalog import known_issues
from llmenv.catalog.status import WORDS
from llmenv_agent.probe.operations.random_draws import COUNT, NORMAL_DEFICIT, STANDARD_ERRORS
from llmenv_agent.probe.reference import bound

if TYPE_CHECKING:
    from conftest import CheckRunner

OPERATIONS, CASES = 60, 400


@pytest.mark.training
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sound_cpu_passes_every_case(run_check: CheckRunner) -> None:
    """No alarm without a fault, over at least 60 operations and 400 cases, each with its error."""
    observed = run_check("ops")
    alarms = {
        case.name: case.reason.text
        for case in observed.result.cases
        if WORDS[case.status] not in ("pass", "skip")
    }
    assert alarms == {}
    assert observed.status == "pass", observed.reason
    assert len({name.partition("/")[0] for name in observed.cases}) >= OPERATIONS
    assert Counter(observed.cases.values())["pass"] >= CASES
    assert all(case.reason.text for case in observed.result.cases)
    ratios = [case.measurements[0].value for case in observed.result.cases if WORDS[case.status] == "pass"]
    assert 0 < max(ratios) <= 1
    # What the catalogue says of failed cases is said of cases that there are.
    patterns = [
        issue.pattern for issue in known_issues.catalogue().values() if "fail of ops" in issue.pattern
    ]
    named = [f"fail of ops {name} on mps: wrong" for name in observed.cases]
    assert [pattern for pattern in patterns if not any(re.search(pattern, each) for each in named)] == []
    assert len(patterns) >= 15


@pytest.mark.training
def test_rows_are_chosen_by_operation_dtype_and_layout(run_check: CheckRunner) -> None:
    """One case of one operation, which is what a replay runs."""
    observed = run_check("ops", {"operations": ["mm"], "dtypes": ["bfloat16"], "layouts": ["transposed"]})
    assert observed.cases == {"mm/bfloat16/transposed": "pass"}
    assert observed.result.cases[0].parameters_json == (
        '{"dtype": "bfloat16", "layout": "transposed", "operation": "mm"}'
    )


@pytest.mark.training
def test_unknown_operation_is_an_error_that_says_what_there_is(run_check: CheckRunner) -> None:
    """A misspelt name runs nothing and passes nothing; text is a list too."""
    observed = run_check("ops", {"operations": "mm,mmm"})
    assert observed.status == "error"
    assert observed.reason.startswith("operations has no mmm; closest to it are mm, ")


@pytest.mark.training
def test_choice_of_nothing_is_an_error(run_check: CheckRunner) -> None:
    """Products have no row in whole numbers."""
    observed = run_check("ops", {"operations": ["mm"], "dtypes": ["int64"]})
    assert observed.reason == "None of these operations has this data type and layout; leave out a parameter."


def test_bound_admits_what_was_right_on_a_mac_and_refuses_what_was_wrong() -> None:
    """Products over 50,257 on an M1 Pro: 1.4e-6 and 1.8e-5 were right, 3.3e-4 was not (pytorch #193487)."""
    limit = bound("float32", roundings=8, length=50257)
    assert 2 * 1.8e-5 < limit < 3.3e-4 / 2


def test_normal_numbers_of_coarse_uniform_ones_are_no_alarm() -> None:
    """Torch 2.11 draws the CPU's in bfloat16 so; their variance was too small by half of the bound."""
    variance = -sum(math.log(each / 256) for each in range(1, 257)) / 256
    rounded = 0.98533  # with each of its steps rounded to bfloat16, over all pairs of uniform numbers
    assert 1 - variance == pytest.approx(math.log(512 * math.pi) / 512, rel=1e-3)
    assert 1 - rounded < NORMAL_DEFICIT < 1.1 * (1 - rounded)
    assert STANDARD_ERRORS * math.sqrt(2 / COUNT) > NORMAL_DEFICIT


@pytest.mark.parametrize(
    ("dtype", "observed_error", "lost_bits"),
    [("float32", 4.6e-7, 2.0**-16), ("bfloat16", 3.3e-3, 1.0), ("float16", 4.4e-4, 2.0**-3)],
)
def test_bound_lies_between_the_cpu_and_a_loss_of_eight_bits(
    dtype: str, observed_error: float, lost_bits: float
) -> None:
    """A product over 768, at the largest error that a CPU showed and at 2^8 unit roundoffs."""
    assert 4 * observed_error < bound(dtype, roundings=8, length=768) < lost_bits


def test_whole_numbers_have_no_tolerance() -> None:
    """Neither have operations that only move values."""
    assert bound("int64", roundings=8) == 0
    assert bound("float32", roundings=0) == 0
