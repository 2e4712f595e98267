"""How the statistics did on a fleet's history, at the terminal: four formats and two languages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from llmenv.fleet.v1 import fleet_report_pb2 as messages

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def tried(logged_in: Any) -> list[messages.SelfTestStatisticsRequest]:
    """A collector with one measurement of which more is better and one that only describes."""
    speed = messages.Series(
        check_name="torch_training", measurement="steps_per_second", unit="step/s", direction=1, device="mps"
    )
    loss = messages.Series(check_name="torch_training", case_name="fp32", measurement="loss", device="mps")

    def share(value: float, low: float, high: float) -> messages.Estimate:
        return messages.Estimate(value=value, low=low, high=high)

    logged_in.servicer.self_test = messages.SelfTestStatisticsResponse(
        false_positives=[
            messages.FalsePositiveRow(
                series=series,
                machines=12,
                comparisons=200,
                called_better=share(0.01, 0.0012, 0.036),
                called_worse=share(0.015, 0.0031, 0.043),
                called_different=share(0.025, 0.0082, 0.0574),
            )
            for series in (speed, loss)
        ],
        power=[
            messages.PowerRow(series=speed, shift=shift, comparisons=200, found=share(found, 0.5, 1.0))
            for shift, found in ((0.05, 0.81), (0.1, 1.0))
        ],
        too_short=3,
        level=0.05,
    )
    requests: list[messages.SelfTestStatisticsRequest] = logged_in.servicer.requests
    return requests


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("output_format", ["table", "md"])
def test_the_self_test_for_people(
    llmenv: Callable[..., Any], golden: Any, tried: Any, *, output_format: str, language: str
) -> None:
    """Percent with the interval, and on stderr what has too short a history."""
    done = llmenv("stats", "selftest", "--format", output_format, "--lang", language)
    assert done.code == 0, done.err
    assert done.out == golden(name=f"stats-selftest-{output_format}-{language}")
    assert "3" in done.err


@pytest.mark.parametrize("output_format", ["json", "csv"])
def test_the_self_test_for_programs(
    llmenv: Callable[..., Any], golden: Any, tried: Any, output_format: str
) -> None:
    """Shares as fractions, whatever the language."""
    done = llmenv("stats", "selftest", "--format", output_format)
    assert done.out == golden(name=f"stats-selftest-{output_format}")
    assert done.out == llmenv("stats", "selftest", "--format", output_format, "--lang", "zh").out


def test_a_measurement_that_only_describes_has_no_power(llmenv: Callable[..., Any], tried: Any) -> None:
    """Nothing was planted in it, so nothing is said of it."""
    first, second = json.loads(llmenv("stats", "selftest", "--format", "json").out)
    assert (first["found_5_percent"], first["found_10_percent"]) == (0.81, 1.0)
    assert (second["found_5_percent"], second["found_10_percent"]) == (None, None)


def test_what_is_tried_can_be_chosen(llmenv: Callable[..., Any], tried: Any) -> None:
    """A period, machines, checks, how often and the seed."""
    options = ["--since", "2w", "--where", "chip = 'Apple M1'", "--check", "ops", "--repetitions", "50"]
    assert llmenv("stats", "selftest", *options, "--seed", "7").code == 0
    asked = tried[-1]
    assert (asked.within.where, list(asked.within.checks)) == ("chip = 'Apple M1'", ["ops"])
    assert (asked.repetitions, asked.seed) == (50, 7)
    assert asked.within.HasField("since")
    assert llmenv("stats", "selftest", "--repetitions", "0").code == 2


def test_where_nothing_can_be_tried_that_is_said(llmenv: Callable[..., Any], logged_in: Any) -> None:
    """An empty table alone would look fine."""
    logged_in.servicer.self_test = messages.SelfTestStatisticsResponse(too_short=3)
    done = llmenv("stats", "selftest")
    assert done.code == 4
    assert "nothing is known" in done.err
