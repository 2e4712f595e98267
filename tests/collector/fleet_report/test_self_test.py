"""The statistics tried on a fleet's own history: seldom wrong where nothing is, and seldom blind."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv_collector.errors import NotFoundError, UsageError
from llmenv_collector.fleet_report import compare, self_test, upgrade

from .built_fleet import WHOLE_HISTORY

if TYPE_CHECKING:
    from .built_fleet import BuiltFleet


def tried(fleet: BuiltFleet, *, repetitions: int = 300, seed: int = 0) -> Any:
    fleet.deliver()
    request = messages.SelfTestStatisticsRequest(repetitions=repetitions, seed=seed)
    return fleet.ask(functools.partial(self_test.self_test, request))


def history(fleet: BuiltFleet, *, drift: float = 0.0, lower_is_better: bool = False) -> None:
    """Thirty days of two machines, with steps up and down of `drift` every ten days."""
    rng = np.random.default_rng(1)
    for name in "ab":
        machine = fleet.machine(name)
        for day in range(30):
            middle = 10 * (1 + drift * (day // 10 % 2))
            value = {"steps_per_second": middle * float(np.exp(rng.normal(0, 0.02)))}
            fleet.run(machine, day, value, lower_is_better=lower_is_better)


@pytest.mark.parametrize("lower_is_better", [False, True])
def test_an_even_history_gives_few_false_alarms_and_large_shifts_are_found(
    fleet: BuiltFleet, lower_is_better: bool
) -> None:
    """The rate's interval reaches below the level, both directions occur alike, 10 % is found."""
    history(fleet, lower_is_better=lower_is_better)
    answer = tried(fleet)
    (row,) = answer.false_positives
    assert (row.series.measurement, row.machines, row.comparisons) == ("steps_per_second", 2, 300)
    assert row.called_different.low <= answer.level == 0.05
    assert row.called_better.low <= row.called_worse.high
    assert row.called_worse.low <= row.called_better.high
    shares = {one.shift: one.found.value for one in answer.power}
    assert shares[0.1] > 0.99
    assert shares[0.05] > 0.8


def test_a_history_that_steps_shows_how_often_it_misleads(fleet: BuiltFleet) -> None:
    """Halves are consecutive: a machine that changes for no known reason is not hidden."""
    history(fleet, drift=0.1)
    (row,) = tried(fleet).false_positives
    assert row.called_different.low > 0.1


def test_the_same_seed_gives_the_same_answer(fleet: BuiltFleet) -> None:
    """Another one another, and a history too short is counted."""
    history(fleet, drift=0.04)
    fleet.run(fleet.machine("new"), 1, {"loss": 3.0})
    first, again, other = (tried(fleet, repetitions=50, seed=seed) for seed in (1, 1, 2))
    assert first.false_positives == again.false_positives
    assert first.false_positives != other.false_positives
    assert first.too_short == 1


def test_too_many_repetitions_are_refused(fleet: BuiltFleet) -> None:
    """One sentence, instead of minutes of work."""
    with pytest.raises(UsageError, match="At most 2000"):
        tried(fleet, repetitions=100_000)


def test_a_check_that_nobody_ran_is_refused(fleet: BuiltFleet) -> None:
    """In every question of a report's period: a wrong name would look like an empty history."""
    fleet.run(fleet.machine("a"), 1, {"steps_per_second": 10.0})
    fleet.deliver()
    questions = (
        functools.partial(self_test.self_test, messages.SelfTestStatisticsRequest()),
        functools.partial(upgrade.check_upgrade, messages.CheckUpgradeRequest(requirement="torch==2.10.0")),
        functools.partial(compare.compare_fleet, messages.CompareFleetRequest(baseline="a", candidate="b")),
    )
    for question in questions:
        with pytest.raises(NotFoundError, match="No machine has ever run a check 'torch_trainin'"):
            fleet.ask(
                question, period=dataclasses.replace(WHOLE_HISTORY, checks=frozenset({"torch_trainin"}))
            )
