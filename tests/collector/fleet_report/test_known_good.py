"""What to use instead of a version that is worse."""

from __future__ import annotations

from typing import Any

import pytest
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv.fleet.v1 import result_pb2
from llmenv_collector.fleet_report.known_good import known_good

WORSE, BETTER, SAME, UNKNOWN = (
    messages.JUDGEMENT_WORSE,
    messages.JUDGEMENT_BETTER,
    messages.JUDGEMENT_SAME,
    messages.JUDGEMENT_INCONCLUSIVE,
)
SECONDS: dict[str, Any] = {
    "check_name": "bench_lora",
    "measurement": "step_seconds",
    "unit": "s",
    "direction": result_pb2.DIRECTION_LOWER_IS_BETTER,
}
MEMORY: dict[str, Any] = {**SECONDS, "measurement": "peak_memory", "unit": "byte"}


def effect(
    baseline: str, candidate: str, judgement: int, seconds: float = 1.0, **other: Any
) -> messages.EffectRow:
    """The candidate takes so many times the time of the baseline."""
    fields: dict[str, Any] = {"package": "torch", "series": SECONDS, **other}
    row = messages.EffectRow(baseline=baseline, candidate=candidate, **fields)
    row.judgement, row.ratio.value = judgement, seconds
    return row


def advised(*effects: messages.EffectRow, **sections: Any) -> list[tuple[str, str]]:
    response = messages.GetFleetReportResponse(effects=effects, **sections)
    return [(row.instead_of, row.version) for row in known_good(response)]


OLDER_IS_FASTER = (effect("2.8", "2.9", WORSE, 1.05), effect("2.9", "2.10", WORSE, 1.10))
FIXED = (effect("2.9", "2.10", WORSE, 1.20), effect("2.10", "2.11", BETTER, 0.80))


@pytest.mark.parametrize(
    ("effects", "expected"),
    [
        pytest.param([effect("2.9", "2.10", WORSE, 1.1)], [("2.10", "2.9")], id="the one before"),
        pytest.param(OLDER_IS_FASTER, [("2.10", "2.8"), ("2.9", "2.8")], id="not one that is worse itself"),
        pytest.param(
            [effect("2.8", "2.9", BETTER, 0.9), effect("2.9", "2.10", WORSE, 1.05)],
            [("2.10", "2.9")],
            id="the fastest",
        ),
        pytest.param(FIXED, [("2.10", "2.11")], id="a newer one that is faster"),
        pytest.param(
            [effect("2.9", "2.10", WORSE, 1.20), effect("2.10", "2.11", BETTER, 0.95)],
            [("2.10", "2.9")],
            id="an older one where the newer is slower",
        ),
        pytest.param(
            [effect("2.8", "2.9", SAME, 1.02), effect("2.9", "2.10", WORSE, 1.1)],
            [("2.10", "2.9")],
            id="the newer of two that are the same",
        ),
        pytest.param(
            [effect("2.9", "2.10", WORSE, 1.2), effect("2.10", "2.11", UNKNOWN, 0.5)],
            [("2.10", "2.9")],
            id="none that nothing can be said of",
        ),
        pytest.param([effect("2.9", "2.10", BETTER, 0.8)], [], id="nothing is worse"),
        pytest.param(
            [effect("2.9", "2.10", WORSE, 1.2, confounded_with=["macos"])], [], id="something else changed"
        ),
        pytest.param(
            [effect("2.9", "2.10", WORSE, 1.2, series=MEMORY), effect("2.8", "2.9", BETTER, 0.5)],
            [("2.10", "2.9")],
            id="worse in memory alone",
        ),
        pytest.param(
            [*FIXED, effect("1.0", "1.1", WORSE, 1.1, package="mlx")],
            [("1.1", "1.0"), ("2.10", "2.11")],
            id="each package has its own",
        ),
    ],
)
def test_the_fastest_that_is_worse_in_nothing(
    effects: list[messages.EffectRow], expected: list[tuple[str, str]]
) -> None:
    """Over as many steps as lie between."""
    assert advised(*effects) == expected


def test_a_version_that_fails_or_has_a_severe_issue_is_not_good() -> None:
    """However fast it is; where none is left, none is named."""
    fails = {"package": "torch", "baseline": "2.10", "candidate": "2.11", "judgement": WORSE}
    assert advised(*FIXED, verdict_effects=[fails]) == [("2.10", "2.9"), ("2.11", "2.9")]
    issue = {"issue_id": "of a newer catalogue", "versions": ["torch 2.9"]}
    assert advised(*FIXED, verdict_effects=[fails], exposures=[issue]) != []
    assert advised(*FIXED, verdict_effects=[fails], exposures=[{**issue, "reproduced": ["studio"]}]) == []
