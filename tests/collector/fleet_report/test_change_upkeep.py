"""Changes are found after ingest, kept, and looked for again where something may have been missed."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from llmenv_collector import clock
from llmenv_collector.changes.upkeep import ChangeUpkeep
from llmenv_collector.fleet_report.change_search import SeriesOfHistory, search

from .built_fleet import FIRST_DAY, BuiltFleet, Here

POINTS = """
SELECT measurement, (epoch(changed_at) / 86400)::INTEGER - ?, is_suspected, points, median_before,
       median_after
FROM store.change_point WHERE abs(ln(median_after / median_before)) > 0.03 ORDER BY measurement, changed_at
"""


def stepped(days: int, step_at: int, ratio: float = 1.1, *, seed: int = 1) -> list[float]:
    rng = np.random.default_rng(seed)
    return [
        float(10 * (ratio if day >= step_at else 1.0) * np.exp(rng.normal(0, 0.01))) for day in range(days)
    ]


def run_days(fleet: BuiltFleet, machine: Any, values: list[float], *, first: int = 0, **run: Any) -> None:
    for day, value in enumerate(values, first):
        fleet.run(machine, day, {"steps_per_second": value}, **run)


def points(fleet: BuiltFleet) -> list[tuple[Any, ...]]:
    with fleet.store.reader() as connection:
        return connection.execute(POINTS, [FIRST_DAY]).fetchall()


def rounds(upkeep: ChangeUpkeep, count: int = 1) -> list[int]:
    async def run() -> list[int]:
        return [await upkeep.round() for _ in range(count)]

    return asyncio.run(run())


@pytest.fixture
def upkeep(fleet: BuiltFleet) -> ChangeUpkeep:
    return ChangeUpkeep(fleet.store, Here())


def test_a_step_is_found_where_it_is(fleet: BuiltFleet, upkeep: ChangeUpkeep) -> None:
    """Of 10 % after 20 of 40 days; a machine without a step has none, and neither is looked at twice."""
    run_days(fleet, fleet.machine("a"), stepped(40, 20))
    run_days(fleet, fleet.machine("b"), stepped(40, 99, seed=2))
    fleet.deliver()
    assert rounds(upkeep, 2) == [2, 0]
    ((name, day, is_suspected, after, before_median, after_median),) = points(fleet)
    assert (name, is_suspected) == ("steps_per_second", False)
    assert abs(day - 20) <= 1
    assert after == 40 - day
    assert after_median / before_median == pytest.approx(1.1, abs=0.02)


def test_a_young_step_is_suspected_and_then_confirmed(fleet: BuiltFleet, upkeep: ChangeUpkeep) -> None:
    """With what arrives later, and nothing else is looked at again."""
    machine, values = fleet.machine("a"), stepped(40, 20, 1.2)
    run_days(fleet, machine, values[:25])
    run_days(fleet, fleet.machine("b"), stepped(25, 99, seed=2))
    fleet.deliver(received_at=1)
    assert rounds(upkeep) == [2]
    assert [row[2:4] for row in points(fleet)] == [(True, 5)]
    run_days(fleet, machine, values[25:], first=25)
    fleet.deliver(received_at=clock.now())
    assert rounds(upkeep) == [1]
    assert [row[2:4] for row in points(fleet)] == [(False, 20)]


def test_a_restart_goes_on_where_it_was(fleet: BuiltFleet, upkeep: ChangeUpkeep) -> None:
    """What was analysed is not analysed again by the next collector."""
    run_days(fleet, fleet.machine("a"), stepped(40, 20))
    fleet.deliver()
    assert rounds(upkeep) == [1]
    found = points(fleet)
    assert rounds(ChangeUpkeep(fleet.store, Here())) == [0]
    run_days(fleet, fleet.machine("b"), stepped(12, 99, seed=2))
    fleet.deliver()
    assert rounds(ChangeUpkeep(fleet.store, Here())) == [1]
    assert points(fleet) == found


def test_what_was_ingested_again_is_looked_at_again(fleet: BuiltFleet, upkeep: ChangeUpkeep) -> None:
    """Rows that a later collector understands count, and what is gone is forgotten."""
    machine = fleet.machine("a")
    run_days(fleet, machine, stepped(40, 20))
    fleet.deliver()
    rounds(upkeep)
    assert len(points(fleet)) == 1

    def forget(connection: Any) -> None:
        connection.execute(
            "DELETE FROM store.result WHERE result_id IN (SELECT result_id FROM store.result LIMIT 5)"
        )

    fleet.store.request(forget).result()
    assert rounds(ChangeUpkeep(fleet.store, Here())) == [1]
    fleet.store.request(lambda connection: connection.execute("DELETE FROM store.result")).result()
    assert rounds(ChangeUpkeep(fleet.store, Here())) == [0]
    assert points(fleet) == []


def test_a_failure_loses_nothing(fleet: BuiltFleet) -> None:
    """What was due is due in the next round."""
    from llmenv_collector.errors import AnalysisError

    class Failing(Here):
        fails = True

        def judge(self, *args: Any, **kwargs: Any) -> Any:
            if self.fails:
                raise AnalysisError("ended")
            return super().judge(*args, **kwargs)

    analysis = Failing()
    upkeep = ChangeUpkeep(fleet.store, analysis)
    run_days(fleet, fleet.machine("a"), stepped(40, 20))
    fleet.deliver()
    with pytest.raises(AnalysisError):
        rounds(upkeep)
    analysis.fails = False
    assert rounds(upkeep) == [1]
    assert len(points(fleet)) == 1


def test_unit_and_order_of_size_do_not_matter() -> None:
    """The same series in another unit has the same changes."""
    values = np.array(stepped(60, 30))
    (one,), (other,) = (list(search(SeriesOfHistory("s", values * scale))) for scale in (1.0, 1024.0))
    assert (other.index, other.p_value) == (one.index, pytest.approx(one.p_value))
    assert (other.low, other.high) == pytest.approx((one.low, one.high))


def test_a_plain_change_has_a_p_that_a_whole_fleet_does_not_hide() -> None:
    """10 % at 1 % noise, 30 results a side: far below what 199 permutations can show."""
    (found,) = search(SeriesOfHistory("s", np.array(stepped(60, 30))))
    assert found.p_value < 1e-6
    assert found.low < 1.1 < found.high
    assert (found.first, found.last) == (found.index - 2, found.index + 1)


def test_what_is_alike_from_day_to_day_is_seldom_called_changed() -> None:
    """Noise with a slow part: none of 100 such series has a p that a report would take notice of."""
    rng = np.random.default_rng(11)
    smallest = 1.0
    for number in range(100):
        slow, values = float(rng.normal(0, 0.01)), []
        for _ in range(60):
            values.append(slow + float(rng.normal(0, 0.006)))
            slow = 0.6 * slow + float(rng.normal(0, 0.008))
        found = search(SeriesOfHistory(str(number), np.exp(values)))
        smallest = min([smallest, *(one.p_value for one in found if not one.is_suspected)])
    assert smallest > 0.0005
