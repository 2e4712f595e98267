"""Two machines, chips, versions or days are compared, and what cannot be is said."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv_collector.errors import NotFoundError, UsageError
from llmenv_collector.fleet_report import compare

if TYPE_CHECKING:
    from .built_fleet import BuiltFleet


def compared(fleet: BuiltFleet, baseline: str, candidate: str, **question: Any) -> Any:
    fleet.deliver()
    request = messages.CompareFleetRequest(baseline=baseline, candidate=candidate)
    return fleet.ask(functools.partial(compare.compare_fleet, request), **question)


def ten_days(fleet: BuiltFleet, machine: Any, middle: float, *, seed: int, **run: Any) -> None:
    rng = np.random.default_rng(seed)
    for day in range(10):
        value = {"steps_per_second": float(middle * np.exp(rng.normal(0, 0.01)))}
        fleet.run(machine, day, value, **run)


def test_two_machines_are_compared_by_their_results(fleet: BuiltFleet) -> None:
    """By hostname or id, with the versions, facts and variables in which they differ."""
    a, b = fleet.machine("a"), fleet.machine("b", os_build="25C56")
    ten_days(fleet, a, 10, seed=1, variables={"OMP_NUM_THREADS": "4"}, statuses={"ops": "pass"})
    ten_days(fleet, b, 9, seed=2, versions={"numpy": "2.4.0"}, statuses={"ops": "fail"})
    answer = compared(fleet, "a", b.machine_id)
    (row,) = answer.effects
    assert answer.kind == "machine"
    assert (row.judgement, row.pairing) == (messages.JUDGEMENT_WORSE, messages.PAIRING_UNSPECIFIED)
    assert row.ratio.low < 0.9 < row.ratio.high
    found = {(one.kind, one.name): (list(one.baseline), list(one.candidate)) for one in answer.differences}
    assert found == {
        ("fact", "os_build"): (["25B78"], ["25C56"]),
        ("package", "numpy"): ([], ["2.4.0"]),
        ("variable", "OMP_NUM_THREADS"): (["4"], []),
    }
    (verdict,) = answer.verdict_effects
    assert (verdict.check_name, verdict.judgement) == ("ops", messages.JUDGEMENT_WORSE)
    assert answer.method.tests == 2
    assert answer.method.minimum_effect == 0.03


def test_machines_of_one_cohort_are_said_to_be(fleet: BuiltFleet) -> None:
    """The same chip on the same versions, and nothing differs."""
    for name, seed in (("a", 1), ("b", 2)):
        ten_days(fleet, fleet.machine(name), 10, seed=seed)
    answer = compared(fleet, "a", "b")
    (row,) = answer.effects
    assert (row.judgement, row.pairing) == (messages.JUDGEMENT_SAME, messages.PAIRING_WITHIN_COHORT)
    assert len(answer.differences) == 0


def test_two_chips_are_compared_over_their_machines(fleet: BuiltFleet) -> None:
    """On the versions that both have, each machine once."""
    for number in range(6):
        for chip, middle in (("Apple M2 Ultra", 10.0), ("Apple M4 Max", 13.0)):
            machine = fleet.machine(f"{chip}{number}", chip)
            ten_days(fleet, machine, middle * (1 + number / 500), seed=number)
    answer = compared(fleet, "apple m2 ultra", "Apple M4 Max")
    (row,) = answer.effects
    assert (answer.kind, row.judgement) == ("chip", messages.JUDGEMENT_BETTER)
    assert row.ratio.value == pytest.approx(1.3, abs=0.02)
    assert (row.candidate_machines, row.baseline_machines) == (6, 6)


def test_two_versions_are_compared_as_in_the_report(fleet: BuiltFleet) -> None:
    """With all else equal on the same machines."""
    machine = fleet.machine("a")
    ten_days(fleet, machine, 10, seed=1)
    ten_days(fleet, machine, 12, seed=2, versions={"torch": "2.11.0"})
    answer = compared(fleet, "torch==2.10.0", "torch==2.11.0")
    (row,) = answer.effects
    assert (answer.kind, row.package, row.judgement) == ("package", "torch", messages.JUDGEMENT_BETTER)
    (difference,) = answer.differences
    assert (difference.kind, difference.name) == ("package", "torch")


def test_two_days_are_compared_on_the_machines_that_ran_on_both(fleet: BuiltFleet) -> None:
    """Day 20,000 since 1970 is 2024-10-04."""
    rng = np.random.default_rng(3)
    for number in range(15):
        machine = fleet.machine(f"m{number}")
        for day, middle in ((0, 10.0), (3, 11.0)):
            value = {"steps_per_second": float((middle + number) * np.exp(rng.normal(0, 0.002)))}
            fleet.run(machine, day + 0.5, value)
    answer = compared(fleet, "2024-10-04", "2024-10-07")
    (row,) = answer.effects
    assert (answer.kind, row.judgement) == ("date", messages.JUDGEMENT_BETTER)
    assert (row.pairing, row.candidate_machines) == (messages.PAIRING_WITHIN_MACHINE, 15)


@pytest.mark.parametrize("sides", [("a", "b"), ("torch==2.10.0", "torch==2.11.0")])
def test_what_is_set_aside_is_of_the_two_sides(fleet: BuiltFleet, sides: tuple[str, str]) -> None:
    """What others could not be compared in is no word about these."""
    ten_days(fleet, fleet.machine("a"), 10, seed=1)
    ten_days(fleet, fleet.machine("b"), 10, seed=2, versions={"torch": "2.11.0"})
    fleet.run(fleet.machine("c"), 1, statuses={"ops": "fail"}, versions={"torch": "2.12.0"})
    assert list(compared(fleet, *sides).method.set_aside) == []


def test_the_period_of_two_days_begins_with_the_first() -> None:
    """Unless another one is asked for; the candidate may be the earlier day."""
    request = messages.CompareFleetRequest(baseline="2024-10-07", candidate="2024-10-04")
    assert compare.within(request).since.ToJsonString() == "2024-10-04T00:00:00Z"
    request.within.since.FromSeconds(7)
    assert compare.within(request).since.seconds == 7


@pytest.mark.parametrize(
    ("baseline", "candidate", "kind", "sentence"),
    [
        ("a", "", UsageError, "say both"),
        ("a", "a", UsageError, "the same"),
        ("a", "nope", NotFoundError, "'nope'"),
        ("a", "Apple M2 Ultra", UsageError, "is a machine and 'Apple M2 Ultra' a chip"),
        ("2024-10-04", "a", UsageError, "A date is compared with a date"),
        ("2024-13-04", "2024-10-04", UsageError, "no date"),
        ("torch==2.10.0", "numpy==2.4.0", UsageError, "Two versions of one package"),
        ("torch==2.10.0", "torch==9.9.9", NotFoundError, r"torch 9\.9\.9"),
        ("1970-01-02", "2024-10-04", NotFoundError, "No machine ran anything on 1970-01-02"),
        ("macos==26.1", "macos==25B78", NotFoundError, "here it has 25B78, so ask for macos==25B78"),
        ("torch==2.10.0", "a", UsageError, "A version is compared with a version"),
        ("twin", "a", UsageError, "names 2 machines"),
    ],
)
def test_what_cannot_be_compared_is_said(
    fleet: BuiltFleet, baseline: str, candidate: str, kind: type[Exception], sentence: str
) -> None:
    """One sentence that names what is wrong."""
    for name in ("a", "twin", "twin"):
        fleet.run(fleet.machine(name), 1, {"steps_per_second": 1.0})
    with pytest.raises(kind, match=sentence):
        compared(fleet, baseline, candidate)
