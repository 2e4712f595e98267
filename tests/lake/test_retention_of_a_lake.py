"""What is old enough is removed from a lake too, while other collectors go on delivering."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from llmenv_agent.simulation.fleet import Fleet
from llmenv_collector import clock
from llmenv_collector.retention.policies import policies_of
from llmenv_collector.retention.upkeep import Retention
from llmenv_collector.settings import Settings

from tests.collector.test_retention import DAY, OLD, SUMMARY, YOUNG, arrivals_of
from tests.lake.conftest import needs_lake
from tests.lake.records import answer, ledger
from tests.lake.test_exactly_once import PATIENCE, collectors
from tests.lake.test_housekeeping import until

if TYPE_CHECKING:
    from pathlib import Path

    from llmenv_collector.delivery.ingest import Arrival
    from llmenv_collector.lake.place import Place
    from llmenv_collector.storage.store import Store

pytestmark = needs_lake
A_RUN = 14
"""Records, about."""


def fill(store: Store) -> int:
    """Half of it received long ago; how many records."""
    now = clock.now()
    fleet = Fleet(seed=3, machines=2, days=4, runs_per_day=1)
    deliveries = arrivals_of(fleet, lambda share: now - (OLD if share <= 0.5 else YOUNG) * DAY)
    for arrivals in deliveries:
        store.deliver(arrivals).result(PATIENCE)
    return sum(len(arrivals) for arrivals in deliveries)


def removed(store: Store) -> dict[str, int]:
    return asyncio.run(Retention(store, policies_of(Settings(keep_logs="30d"))).round())


def test_raw_trials_and_logs_go_from_a_lake(place: Place, tmp_path: Path) -> None:
    """Medians, counts, variation and intervals are the same before and after, as with a file."""
    from llmenv_collector.lake.housekeeping import keep_house

    with collectors(place, tmp_path, 1) as (store,):
        records = fill(store)
        before = answer(store, SUMMARY)
        once = removed(store)
        assert min(once["trials"], once["logs"]) > 0
        assert answer(store, SUMMARY) == before
        trials_gone = answer(store, "SELECT count(*) FROM v1.measurements WHERE trials_removed")
        assert trials_gone == [(once["trials"],)]
        again = removed(store)
        assert again["trials"] == again["logs"] == 0
        assert keep_house(place) == []
        assert answer(store, SUMMARY) == before
        assert ledger(store) == (records, records, records)


@pytest.mark.timeout(600)
def test_a_collector_that_delivers_on_does_not_hinder_it(place: Place, tmp_path: Path) -> None:
    """DuckLake refuses to remove rows of a table that others have added to; those wait for a moment then."""
    fleet = Fleet(seed=4, machines=1, days=40, runs_per_day=2)
    (waiting,) = arrivals_of(fleet, lambda _share: clock.now())
    delivered: list[Arrival] = []
    ended = threading.Event()
    with collectors(place, tmp_path, 2) as (one, other):
        records = fill(one)

        def deliver() -> None:
            while not ended.is_set() and len(delivered) < len(waiting):
                some = waiting[len(delivered) : len(delivered) + A_RUN]
                other.deliver(some).result(PATIENCE)
                delivered.extend(some)

        with ThreadPoolExecutor(1) as threads:
            delivering = threads.submit(deliver)
            try:
                until(lambda: bool(delivered) or delivering.done())
                assert removed(one)["trials"] > 0
            finally:
                ended.set()
            delivering.result(PATIENCE)
        stored = records + len(delivered)
        assert ledger(one) == (stored, stored, stored)
