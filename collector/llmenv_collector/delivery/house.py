"""What all streams of a collector share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmenv_collector.delivery.room import Room
    from llmenv_collector.delivery.sightings import Sightings
    from llmenv_collector.delivery.streams import Streams
    from llmenv_collector.identity.trust import Trust
    from llmenv_collector.schedules.assignment import ScheduleAssignment
    from llmenv_collector.storage.store import Store


@dataclass(frozen=True)
class House:
    """One a collector."""

    store: Store
    streams: Streams
    room: Room
    sightings: Sightings
    heartbeat_seconds: float
    version: str
    schedules: ScheduleAssignment | None = None
    """None where nothing is scheduled."""
    trust: Trust | None = None
    """None where agents are told nothing of the authority."""
    hello_seconds: float = 10.0
    """A stream that does not begin with Hello within this time is ended."""
