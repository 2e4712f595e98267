"""A database that a simulated fleet really delivered to, with as many raw trials a measurement as wanted.

Received in the order of time, as many machines' agents deliver beside each other, and ending today.
"""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

from llmenv.ids import new_id
from llmenv_agent.simulation.fleet import Fleet
from llmenv_collector import clock
from llmenv_collector.delivery.ingest import Arrival
from llmenv_collector.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from llmenv.fleet.v1 import record_pb2, result_pb2

NOISE = 0.01
WAITING = 64
"""Deliveries that are under way at once."""


def deliver(path: Path, *, machines: int, days: int, trials: int) -> None:
    """A run a day of each machine."""
    store = Store(path)
    under_way = []
    for arrivals in itertools.groupby(arrivals_of(machines, days, trials), key=lambda one: one.spool_id):
        under_way.append(store.deliver(list(arrivals[1])))
        if len(under_way) >= WAITING:
            under_way.pop(0).result()
    for done in under_way:
        done.result()
    store.close()


def arrivals_of(machines: int, days: int, trials: int) -> list[Arrival]:
    """Of all machines, in the order in which they are received."""
    fleet = Fleet(seed=1, machines=machines, days=days, runs_per_day=1)
    draw = random.Random(1)
    begun = [
        (record.measured_at.ToMicroseconds(), machine.id, with_trials(record, trials, draw))
        for machine in fleet.machines
        for record in fleet.records(machine)
    ]
    begun.sort(key=lambda one: one[0])
    shift = clock.now() - begun[-1][0]
    spools = {machine.id: new_id() for machine in fleet.machines}
    sequences: dict[str, Iterator[int]] = {machine.id: itertools.count(1) for machine in fleet.machines}
    return [
        Arrival(spools[machine_id], machine_id, 1, next(sequences[machine_id]), record, measured_at + shift)
        for measured_at, machine_id, record in begun
    ]


def with_trials(record: record_pb2.Record, trials: int, draw: random.Random) -> bytes:
    """Each measurement with that many, and without warm-ups."""
    result = record.check_finished.result
    for observed in (result, *result.cases, *record.case_batch.cases):
        draw_trials(observed.measurements, trials, draw)
    return record.SerializeToString()


def draw_trials(measurements: Iterable[result_pb2.Measurement], trials: int, draw: random.Random) -> None:
    for one in measurements:
        del one.trials[:], one.warmups[:]
        one.trials.extend(one.value * (1 + draw.gauss(0, NOISE)) for _ in range(trials))
