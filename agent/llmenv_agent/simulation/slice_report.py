"""What one process of a simulation counted and timed; those of several add up."""

from __future__ import annotations

import dataclasses
import resource
import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_agent.connection import Trouble
from llmenv_agent.simulation.histogram import Histogram
from llmenv_agent.simulation.timed_tally import Content, Reconnects

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llmenv_agent.simulation.virtual_agent import VirtualAgent

_RSS_BYTES = 1 if sys.platform == "darwin" else 1_024


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Records of all spools since they began: minted = stored + rejected + waiting + dropped."""

    minted: int = 0
    stored: int = 0
    rejected: int = 0
    waiting: int = 0
    dropped: int = 0

    def __add__(self, other: Ledger) -> Ledger:
        return Ledger(
            **{
                field.name: getattr(self, field.name) + getattr(other, field.name)
                for field in dataclasses.fields(Ledger)
            }
        )


@dataclass(frozen=True, kw_only=True)
class SliceReport:
    """Counts, bytes, seconds; `began_at` and `ended_at` by the monotonic clock of the system."""

    machines: int
    records: int
    """Acknowledged in this simulation."""
    content: Content
    """Of what was spooled and acknowledged in this simulation."""
    began_at: float
    ended_at: float
    cpu_seconds: float
    memory_bytes: int
    """Most that the process had."""
    acknowledgement: Histogram
    round_trip: Histogram
    first_connected: Histogram
    lateness: Histogram
    lag: Histogram
    reconnects: Reconnects
    streams: int
    failures: Counter[str]
    refusals: int
    ledger: Ledger
    not_whole: int
    """Machines."""
    agreed: int | None = None
    """Machines of which the collector says that it has all; None: it was not asked."""


def report_of(
    agents: Sequence[VirtualAgent], *, began_at: float, ended_at: float, cpu_seconds: float, lag: Histogram
) -> SliceReport:
    """Of agents that still have their spools open."""
    tallies = [agent.tally for agent in agents]
    return SliceReport(
        machines=len(agents),
        records=sum(agent.delivered for agent in agents),
        content=sum((tally.content for tally in tallies), Content()),
        began_at=began_at,
        ended_at=ended_at,
        cpu_seconds=cpu_seconds,
        memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_BYTES,
        acknowledgement=total(tally.acknowledgement for tally in tallies),
        round_trip=total(tally.round_trip for tally in tallies),
        first_connected=total(tally.first_connected for tally in tallies),
        lateness=total(agent.lateness for agent in agents),
        lag=lag,
        reconnects=sum((tally.reconnects for tally in tallies), Reconnects()),
        streams=sum(tally.streams for tally in tallies),
        failures=sum((_failures(agent) for agent in agents), Counter()),
        refusals=sum(agent.line.refusals for agent in agents),
        ledger=sum((_ledger(agent) for agent in agents), Ledger()),
        not_whole=sum(not agent.is_whole() for agent in agents),
    )


def total(histograms: Iterable[Histogram]) -> Histogram:
    return sum(histograms, Histogram())


def _failures(agent: VirtualAgent) -> Counter[str]:
    """What the line knows, and streams that the agent itself ended for what it was told."""
    explained = agent.line.failures.total() + agent.line.refusals
    untold = agent.tally.troubles.total() - explained
    return agent.line.failures + Counter({f"protocol ({Trouble.BROKEN.value})": untold})


def _ledger(agent: VirtualAgent) -> Ledger:
    found = agent.spool.ledger()
    return Ledger(
        minted=found.minted,
        stored=found.stored,
        rejected=found.rejected,
        waiting=found.waiting,
        dropped=found.dropped,
    )
