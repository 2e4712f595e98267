"""A simulated fleet through the real ingest into a real store: none is refused, the views tell the truth."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import pytest
from llmenv.ids import new_id
from llmenv_agent.simulation.effects import Outlier, Regression
from llmenv_agent.simulation.fleet import Fleet
from llmenv_agent.simulation.plan import Plan
from llmenv_collector.delivery.ingest import Arrival
from llmenv_collector.delivery.sighting import Sighting
from llmenv_collector.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv_agent.simulation.machines import VirtualMachine

PLAN = Plan(
    regressions=(
        Regression(
            package="torch",
            versions=("2.11.0", "2.12.0"),
            check="bench_lora",
            workload="step",
            factor=0.9,
        ),
    ),
    outliers=(Outlier(machine=3, factor=0.85),),
)


def deliver(store: Store, fleet: Fleet, machine: VirtualMachine) -> int:
    """All of a machine's history as one delivery; returns how many records it was."""
    spool_id = new_id()
    arrivals = [
        Arrival(
            spool_id,
            machine.id,
            1,
            number,
            record.SerializeToString(),
            received_at=record.measured_at.ToMicroseconds(),
        )
        for number, record in enumerate(fleet.records(machine), 1)
    ]
    delivered = store.deliver(arrivals).result()
    assert (delivered.rejections, delivered.watermark) == ((), len(arrivals))
    enrolled_at = arrivals[0].received_at
    store.see(Sighting(machine.id, seen_at=arrivals[-1].received_at, enrolled_at=enrolled_at)).result()
    return len(arrivals)


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return Fleet(seed=1, machines=10, days=60, plan=PLAN)


@pytest.fixture(scope="module")
def store(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = Store(tmp_path_factory.mktemp("store") / "llmenv.duckdb")
    opened.delivered = sum(deliver(opened, fleet, machine) for machine in fleet.machines)  # type: ignore[attr-defined]
    yield opened
    opened.close()


def ask(store: Store, query: str) -> list[tuple[object, ...]]:
    with store.reader() as connection:
        return connection.execute(query).fetchall()


def test_every_record_is_stored_and_understood(store: Store) -> None:
    """None refused, none kept raw, one row of the account a machine."""
    records = store.delivered  # type: ignore[attr-defined]
    assert ask(store, "SELECT count(*) FROM v1.records") == [(records,)]
    assert ask(store, "SELECT count(*) FROM v1.rejections") == [(0,)]
    assert ask(store, "SELECT count(*) FROM store.record_raw") == [(0,)]


def test_the_views_know_machines_runs_and_measurements(store: Store, fleet: Fleet) -> None:
    """As many as were played: about sixty measurements a run, every run with its end."""
    machines = ask(store, "SELECT hostname, chip FROM v1.machines ORDER BY hostname")
    assert machines == sorted((each.hostname, each.model.chip) for each in fleet.machines)
    ((runs, ended),) = ask(store, "SELECT count(*), count(ended_at) FROM v1.runs")
    assert runs == ended
    ((results,),) = ask(store, "SELECT count(*) FROM v1.results")
    assert results == 12 * runs
    ((measurements,),) = ask(store, "SELECT count(*) FROM v1.measurements")
    assert 55 <= measurements / runs <= 70


def test_planted_effects_can_be_seen_with_plain_sql(store: Store, fleet: Fleet) -> None:
    """The version's ratio within machines, and the outlier against the rest of its cohort."""
    medians = ask(
        store,
        """
        SELECT runs.hostname, package.version IN ('2.11.0', '2.12.0') AS is_slow, median(value)
        FROM v1.measurements AS measurements
        JOIN v1.results USING (machine_id, result_id)
        JOIN v1.runs AS runs USING (machine_id, run_id)
        JOIN v1.environment_packages AS package USING (environment_id)
        WHERE check_name = 'bench_lora' AND measurements.name = 'tokens_per_second' AND package.name = 'torch'
        GROUP BY ALL ORDER BY ALL
        """,
    )
    by_machine: dict[str, dict[bool, float]] = {}
    for hostname, is_slow, value in medians:
        by_machine.setdefault(str(hostname), {})[bool(is_slow)] = float(str(value))
    ratios = [each[True] / each[False] for each in by_machine.values() if len(each) == 2]
    assert len(ratios) >= 5
    assert statistics.median(ratios) == pytest.approx(0.9, rel=0.02)
    outlier = fleet.machines[3].hostname
    others = [each[False] for hostname, each in by_machine.items() if hostname != outlier]
    assert by_machine[outlier][False] / statistics.median(others) == pytest.approx(0.85, rel=0.06)
