"""Outliers, unsteady machines, changes and their causes: what is planted is found, judged together."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv_collector.changes.upkeep import ChangeUpkeep
from llmenv_collector.errors import NotFoundError
from llmenv_collector.fleet_report import report
from llmenv_collector.fleet_report.hypotheses import settle
from llmenv_collector.fleet_report.period import DAY_MICROSECONDS, Period
from llmenv_collector.fleet_report.question import Release

from .built_fleet import FIRST_DAY, Here

if TYPE_CHECKING:
    from .built_fleet import BuiltFleet

NEWER = {"torch": "2.11.0"}


def reported(fleet: BuiltFleet, **question: Any) -> Any:
    """What a report says of the whole history, after the changes were looked for."""
    fleet.deliver()
    asyncio.run(ChangeUpkeep(fleet.store, Here()).round())

    return fleet.ask(report.fleet_report, **question)


def noisy(rng: np.random.Generator, middle: float, cv: float = 0.01) -> dict[str, float]:
    return {"steps_per_second": float(middle * np.exp(rng.normal(0, cv)))}


def cohort(fleet: BuiltFleet, *, slow: float, chip: str = "Apple M2 Max", seed: int = 1, **run: Any) -> None:
    """Eight machines of one chip, of which the last is that much slower."""
    rng = np.random.default_rng(seed)
    for number in range(8):
        machine = fleet.machine(f"{chip}-{number}", chip)
        middle = 10 * float(np.exp(rng.normal(0, 0.01))) * (1 - slow if number == 7 else 1)
        for day in range(6):
            fleet.run(machine, day, noisy(rng, middle), **run)


def test_a_slow_machine_is_found_among_its_own_kind(fleet: BuiltFleet) -> None:
    """11 % slower than seven others on the same versions; faster chips do not make it an outlier."""
    cohort(fleet, slow=0.11)
    cohort(fleet, slow=0.0, chip="Apple M4 Max", seed=2)
    (row,) = reported(fleet).outliers
    assert (row.hostname, row.others, row.judgement) == ("Apple M2 Max-7", 7, messages.JUDGEMENT_WORSE)
    assert row.ratio == pytest.approx(0.89, abs=0.03)
    assert dict(row.versions)["torch"] == "2.10.0"
    assert dict(row.versions)["macos"] == "25B78"


def test_a_slow_machine_on_another_version_is_no_outlier(fleet: BuiltFleet) -> None:
    """Nothing is said of a machine that has no cohort."""
    cohort(fleet, slow=0.0)
    lone = fleet.machine("lone", "Apple M2 Max")
    for day in range(6):
        fleet.run(lone, day, {"steps_per_second": 5.0}, versions=NEWER)
    assert len(reported(fleet).outliers) == 0


def test_direction_decides_what_an_outlier_is(fleet: BuiltFleet) -> None:
    """Of seconds, less is better."""
    cohort(fleet, slow=0.15, lower_is_better=True, unit="s")
    (row,) = reported(fleet).outliers
    assert row.judgement == messages.JUDGEMENT_BETTER


def test_machines_that_throttle_or_do_not_settle_are_listed(fleet: BuiltFleet) -> None:
    """The worst first; one result in ten that does not settle is no sign."""
    calm, hot, rough = (fleet.machine(name) for name in ("calm", "hot", "rough"))
    for day in range(10):
        value = {"steps_per_second": 10.0}
        fleet.run(calm, day, value, stability=2 if day == 0 else 1)
        fleet.run(hot, day, value, stability=3, conditions={"thermal_pressure": "serious"})
        fleet.run(rough, day, value, stability=2 if day < 5 else 1)
    found = [
        (row.hostname, row.declining, row.unstable, row.under_thermal_pressure, row.results)
        for row in reported(fleet).unsteady
    ]
    assert found == [("hot", 10, 0, 10, 10), ("rough", 0, 5, 0, 10)]


def planted_changes(fleet: BuiltFleet) -> None:
    """torch 2.11 makes four of six machines 10 % slower; pandas changes on all six at the same time."""
    rng = np.random.default_rng(3)
    for number in range(6):
        machine = fleet.machine(f"m{number}")
        for day in range(40):
            moved = day >= 20
            versions = {"pandas": "3.1.0" if moved else "3.0.0"}
            got_torch = number < 4 and moved
            if got_torch:
                versions |= {**NEWER, "torchaudio": "2.11.0"}
            fleet.run(machine, day, noisy(rng, 9.0 if got_torch else 10.0), versions=versions)


def test_a_change_is_dated_and_its_cause_is_the_one_with_evidence(fleet: BuiltFleet) -> None:
    """What changed on machines that stayed as fast too ranks below; torchaudio goes with torch."""
    planted_changes(fleet)
    answer = reported(fleet, by=messages.AXIS_MACHINE)
    found = [row for row in answer.changes if row.judgement == messages.JUDGEMENT_WORSE]
    assert sorted(row.hostname for row in found) == ["m0", "m1", "m2", "m3"]
    for row in found:
        assert row.ratio.low < 0.9 < row.ratio.high
        first, second = row.causes
        assert (first.kind, first.name, first.before, first.after) == ("package", "torch", "2.10.0", "2.11.0")
        assert (first.machines_with, first.changed_with) == (4, 4)
        assert (first.machines_without, first.changed_without) == (2, 0)
        assert (second.name, second.machines_with, second.changed_with) == ("pandas", 6, 4)
    assert answer.method.tests >= 6
    assert answer.method.HasField("changes_analysed_at")


def test_variables_definitions_and_conditions_can_be_causes(fleet: BuiltFleet) -> None:
    """Each with its value before and after."""
    rng = np.random.default_rng(4)
    machine = fleet.machine("a")
    for day in range(40):
        moved = day >= 20
        fleet.run(
            machine,
            day,
            noisy(rng, 8 if moved else 10),
            variables={"OMP_NUM_THREADS": "1" if moved else "8"},
            definition="d2" if moved else "d1",
            conditions={"session_type": "SESSION_TYPE_SSH" if moved else "SESSION_TYPE_DAEMON"},
        )
    (row,) = reported(fleet).changes
    found = {(one.kind, one.name, one.before, one.after) for one in row.causes}
    assert found == {
        ("variable", "OMP_NUM_THREADS", "8", "1"),
        ("definition", "", "d1", "d2"),
        ("conditions", "session_type", "daemon", "ssh"),
    }


def test_a_young_change_is_suspected_and_not_judged(fleet: BuiltFleet) -> None:
    """With its number of points, and it is not among the tests."""
    rng = np.random.default_rng(5)
    machine = fleet.machine("a")
    for day in range(25):
        fleet.run(machine, day, noisy(rng, 8 if day >= 20 else 10))
    answer = reported(fleet)
    (row,) = answer.changes
    assert (row.is_suspected, row.points) == (True, 5)
    assert (row.judgement, row.q_value) == (messages.JUDGEMENT_INCONCLUSIVE, 1.0)


def test_a_report_of_an_earlier_time_knows_no_later_change(fleet: BuiltFleet) -> None:
    """What had five results then was a suspicion, and of what had none nothing was known."""
    rng = np.random.default_rng(5)
    machine = fleet.machine("a")
    then = (FIRST_DAY + 41) * DAY_MICROSECONDS
    for days, received_at in ((range(20), 1), (range(20, 25), then), (range(25, 40), then + 1)):
        for day in days:
            fleet.run(machine, day, noisy(rng, 8 if day >= 20 else 10))
        fleet.deliver(received_at=received_at)
    (now,) = reported(fleet).changes
    assert (now.is_suspected, now.judgement) == (False, messages.JUDGEMENT_WORSE)
    period = Period(since=0, as_of=then, is_now=False)
    (suspected,) = fleet.ask(report.fleet_report, period=period).changes
    assert (suspected.is_suspected, suspected.points) == (True, 5)
    assert suspected.judgement == messages.JUDGEMENT_INCONCLUSIVE
    earlier = dataclasses.replace(period, as_of=then - 1)
    assert list(fleet.ask(report.fleet_report, period=earlier).changes) == []


def test_a_verdict_that_changed_is_shown_at_once(fleet: BuiltFleet) -> None:
    """With what changed between both results; machines that did not get it count as evidence."""
    for number in range(4):
        machine = fleet.machine(f"m{number}")
        for day in range(3):
            moved = day == 2 and number < 2
            statuses = {"ops": "fail" if moved else "pass", "mlx_native": "skip"}
            fleet.run(machine, day, statuses=statuses, versions=NEWER if moved else None)
    rows = reported(fleet).verdict_changes
    assert [(row.hostname, row.check_name) for row in rows] == [("m0", "ops"), ("m1", "ops")]
    (cause,) = rows[0].causes
    assert (cause.name, cause.after) == ("torch", "2.11.0")
    assert (cause.machines_with, cause.changed_with) == (2, 2)
    assert (cause.machines_without, cause.changed_without) == (2, 0)


def test_a_fleet_in_which_nothing_happens_has_no_real_difference(fleet: BuiltFleet) -> None:
    """Versions, machines and days of pure noise: nothing is better or worse."""
    rng = np.random.default_rng(6)
    for number in range(8):
        machine = fleet.machine(f"m{number}")
        for day in range(24):
            values = {f"m{one}": float(10 * np.exp(rng.normal(0, 0.02))) for one in range(5)}
            fleet.run(machine, day, values, versions=NEWER if day >= 12 else None)
    answer = reported(fleet)
    judged = [row.judgement for rows in (answer.effects, answer.outliers, answer.changes) for row in rows]
    assert not {messages.JUDGEMENT_BETTER, messages.JUDGEMENT_WORSE} & set(judged)
    assert len(answer.effects) == 5
    assert answer.method.tests >= 5 + 5 + 40


def test_sections_that_were_not_asked_for_are_empty(fleet: BuiltFleet) -> None:
    """By package there are effects, by machine outliers and changes."""
    planted_changes(fleet)
    by_package = reported(fleet, by=messages.AXIS_PACKAGE)
    assert by_package.effects
    assert (len(by_package.changes), len(by_package.outliers)) == (0, 0)
    by_machine = reported(fleet, by=messages.AXIS_MACHINE)
    assert by_machine.changes
    assert len(by_machine.effects) == 0
    only = reported(fleet, package="pandas")
    assert {row.package for row in only.effects} == {"pandas"}


def test_what_is_shown_does_not_change_what_is_said(fleet: BuiltFleet) -> None:
    """A part of the report has the q-values and judgements of the whole."""
    planted_changes(fleet)
    whole = reported(fleet)
    by_package, by_machine = (
        reported(fleet, by=axis) for axis in (messages.AXIS_PACKAGE, messages.AXIS_MACHINE)
    )
    torch = reported(fleet, package="torch")
    assert whole.method.tests == by_package.method.tests == by_machine.method.tests == torch.method.tests
    assert by_package.effects == whole.effects
    assert (by_machine.outliers, by_machine.changes) == (whole.outliers, whole.changes)
    assert list(torch.effects) == [row for row in whole.effects if row.package == "torch"]


def effect(p_value: float, ratio: float, direction: int = 1) -> messages.EffectRow:
    estimate = messages.Estimate(value=ratio, low=ratio * 0.99, high=ratio * 1.01)
    return messages.EffectRow(p_value=p_value, ratio=estimate, series=messages.Series(direction=direction))  # type: ignore[arg-type]


def test_what_one_report_tests_is_judged_together() -> None:
    """One p of 0.01 is a difference alone, and none among a hundred others; the order does not matter."""
    alone = [effect(0.01, 0.9)]
    assert settle(alone, minimum_effect=0.03, false_discovery_rate=0.05) == 1
    assert alone[0].judgement == messages.JUDGEMENT_WORSE
    among = [effect(0.01, 0.9), *(effect(1.0, 1.0) for _ in range(99))]
    random.Random(1).shuffle(among)
    settle(among, minimum_effect=0.03, false_discovery_rate=0.05)
    assert {row.judgement for row in among} == {messages.JUDGEMENT_INCONCLUSIVE, messages.JUDGEMENT_SAME}
    untold = [effect(0.01, 0.9)]
    assert settle(untold, minimum_effect=0.03, false_discovery_rate=0.05, untold=99) == 100
    assert (untold[0].judgement, untold[0].q_value) == (messages.JUDGEMENT_INCONCLUSIVE, 1.0)


def test_a_measurement_that_only_describes_is_never_better_or_worse() -> None:
    """And one of which less is better is worse when it grows."""
    rows = [effect(1e-9, 1.2, direction=0), effect(1e-9, 1.2, direction=2), effect(1e-9, 1.2)]
    settle(rows, minimum_effect=0.03, false_discovery_rate=0.05)
    assert [row.judgement for row in rows] == [
        messages.JUDGEMENT_INCONCLUSIVE,
        messages.JUDGEMENT_WORSE,
        messages.JUDGEMENT_BETTER,
    ]


def test_a_version_that_nobody_had_is_refused(fleet: BuiltFleet) -> None:
    """A report without a word of it would look as if nothing differed; of no run at all that is said."""
    question = {"baseline": Release("torch", "9.9")}
    assert fleet.ask(report.fleet_report, **question).coverage.runs == 0
    fleet.run(fleet.machine("a"), 1, {"steps_per_second": 10.0})
    with pytest.raises(NotFoundError, match=r"No run of the period had torch 9\.9"):
        reported(fleet, **question)
    with pytest.raises(NotFoundError, match="No run of the period had a package 'torhc'"):
        reported(fleet, package="torhc")
    assert reported(fleet, package="torch").coverage.runs == 1
