"""A collector with the history of a simulated fleet, and an analyst who is logged in to it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from llmenv.ids import new_id
from llmenv_collector.delivery.ingest import Arrival
from llmenv_collector.delivery.sighting import Sighting
from llmenv_collector.storage.store import Store

from .conftest import Fleet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmenv_agent.simulation.fleet import Fleet as SimulatedFleet
    from llmenv_agent.simulation.machines import VirtualMachine

HOUR = 3_600_000_000
"""Microseconds: how long each record was on its way."""


@contextlib.contextmanager
def lab(
    folder: Path, simulated: SimulatedFleet, *, settings: dict[str, str] | None = None
) -> Iterator[Fleet]:
    """The collector serves until the block ends."""
    running = Fleet(folder)
    running.environment.update(settings or {})
    running.call("llmenv-collector", "init")
    with contextlib.closing(Store(database_of(running))) as store:
        for machine in simulated.machines:
            deliver(store, simulated, machine)
    running.start_collector()
    try:
        running.call("llmenv", "login", token=running.token("--role", "analyst"))
        yield running
    finally:
        assert running.collector is not None
        running.collector.terminate()
        running.collector.wait(timeout=90)


def database_of(running: Fleet) -> Path:
    return running.folder / "collector" / "llmenv.duckdb"


def deliver(store: Store, simulated: SimulatedFleet, machine: VirtualMachine) -> None:
    """All of its history as one delivery."""
    spool_id = new_id()
    arrivals = [
        Arrival(
            spool_id,
            machine.id,
            1,
            number,
            record.SerializeToString(),
            received_at=record.measured_at.ToMicroseconds() + HOUR,
        )
        for number, record in enumerate(simulated.records(machine), 1)
    ]
    assert store.deliver(arrivals).result().rejections == ()
    first, last = arrivals[0].received_at, arrivals[-1].received_at
    store.see(Sighting(machine.id, seen_at=last, enrolled_at=first)).result()
