"""What is seen of a machine beside its records: that it spoke, what it is, and its own ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv.fleet.v1 import machine_pb2


@dataclass(frozen=True)
class Sighting:
    """A machine said something.  Times are microseconds since 1970."""

    machine_id: str
    seen_at: int | None
    agent_version: str = ""
    enrolled_at: int | None = None
    doubled_at: int | None = None
    """Another agent with the machine's identity is at work."""
    facts: machine_pb2.Machine | None = None
    """Empty ones say nothing."""
    ledger: dict[str, Any] | None = None
    """A row of store.spool_ledger."""


def merged_sightings(sightings: Sequence[Sighting]) -> list[dict[str, Any]]:
    """One row a machine: the first enrolment, the last time seen, the last version said."""
    merged: dict[str, dict[str, Any]] = {}
    for one in sightings:
        row = merged.setdefault(
            one.machine_id,
            {
                "machine_id": one.machine_id,
                "enrolled_at": None,
                "last_seen_at": None,
                "agent_version": "",
                "doubled_at": None,
            },
        )
        row["enrolled_at"] = row["enrolled_at"] or one.enrolled_at
        row["last_seen_at"] = one.seen_at or row["last_seen_at"]
        row["agent_version"] = one.agent_version or row["agent_version"]
        row["doubled_at"] = one.doubled_at or row["doubled_at"]
    return list(merged.values())
