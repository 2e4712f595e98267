"""Which records of a group follow their watermarks, and how far those move.

Pure: it reads what arrived against the watermarks that it is given.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from llmenv_collector import clock
from llmenv_collector.delivery import ingest
from llmenv_collector.delivery.watermark import Watermark

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from llmenv_collector.delivery.ingest import Arrival, Reading

DAY_TOTALS = ("stored", "rejected", "dropped")


@dataclass(frozen=True)
class Rejection:
    """A record that was refused for good."""

    sequence: int
    record_id: str
    reason: str


@dataclass
class Outcome:
    """What became of a group, by spool."""

    watermarks: dict[str, int] = field(default_factory=dict)
    rejections: dict[str, list[Rejection]] = field(default_factory=dict)
    jumps: dict[str, str] = field(default_factory=dict)
    """One sentence for each spool whose sequences do not follow."""

    def update(self, later: Outcome) -> None:
        self.watermarks |= later.watermarks
        self.jumps |= later.jumps
        for spool_id, rejections in later.rejections.items():
            self.rejections.setdefault(spool_id, []).extend(rejections)


@dataclass
class Sieved:
    """Readings that follow their watermarks, and the watermarks before and after them."""

    before: dict[str, Watermark] = field(default_factory=dict)
    watermarks: dict[str, Watermark] = field(default_factory=dict)
    readings: list[Reading] = field(default_factory=list)
    jumps: dict[str, str] = field(default_factory=dict)


def sieve(arrivals: Sequence[Arrival], known: dict[str, Watermark], *, refusal: str = "") -> Sieved:
    """Drops duplicates, stops a spool at a jump, and moves the watermarks past the rest."""
    sieved = Sieved(before=known, watermarks={spool_id: replace(mark) for spool_id, mark in known.items()})
    for arrival in arrivals:
        spool_id = arrival.spool_id
        mark = sieved.watermarks.get(spool_id)
        if mark is None:
            mark = sieved.watermarks[spool_id] = Watermark(spool_id, arrival.machine_id)
        if spool_id in sieved.jumps or arrival.sequence <= mark.sequence:
            continue
        reading = ingest.reject(arrival, refusal) if refusal else ingest.read(arrival)
        if not mark.follows(reading):
            sieved.jumps[spool_id] = (
                f"Sequence {arrival.sequence} does not follow {mark.sequence}: send from there."
            )
            continue
        sieved.readings.append(reading)
        mark.advance(reading)
    return sieved


def day_rows(sieved: Sieved) -> list[dict[str, Any]]:
    """What the group adds to the day on which it came."""
    totals: dict[tuple[str, dt.date], dict[str, Any]] = {}
    for spool_id, mark in sieved.watermarks.items():
        before = sieved.before.get(spool_id) or Watermark(spool_id, mark.machine_id)
        if mark.sequence == before.sequence:
            continue
        day = clock.day_of(mark.last_received_at)
        row = totals.setdefault(
            (mark.machine_id, day),
            {"machine_id": mark.machine_id, "day": day, **dict.fromkeys(DAY_TOTALS, 0)},
        )
        for name in DAY_TOTALS:
            row[name] += getattr(mark, name) - getattr(before, name)
    return list(totals.values())


def outcome_of(sieved: Sieved) -> Outcome:
    outcome = Outcome(jumps=sieved.jumps)
    outcome.watermarks = {spool_id: mark.sequence for spool_id, mark in sieved.watermarks.items()}
    for reading in sieved.readings:
        if reading.reason:
            rejection = Rejection(reading.arrival.sequence, reading.record_id, reading.reason)
            outcome.rejections.setdefault(reading.arrival.spool_id, []).append(rejection)
    return outcome


def rejection_row(reading: Reading) -> dict[str, Any]:
    arrival = reading.arrival
    return {
        "spool_id": arrival.spool_id,
        "sequence": arrival.sequence,
        "record_id": reading.record_id,
        "machine_id": arrival.machine_id,
        "reason": reading.reason,
        "record": arrival.record,
        "received_at": arrival.received_at,
        "confirmed_at": None,
    }
