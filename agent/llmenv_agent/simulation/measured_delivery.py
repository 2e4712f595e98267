"""What a simulation measured of its delivery, and how it is said."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv_agent.simulation.virtual_agent import VirtualAgent


@dataclass(frozen=True, kw_only=True)
class MeasuredDelivery:
    """Counts, seconds from the first record spooled to the last acknowledged, and milliseconds."""

    machines: int
    records: int
    measurements: int
    mebibytes: float
    seconds: float
    cpu_seconds: float
    """Of this process: on a busy machine most of the time goes elsewhere."""
    records_per_second: float
    measurements_per_second: float
    acknowledgements: int
    acknowledgement_p50_ms: float
    acknowledgement_p99_ms: float
    acknowledgement_max_ms: float
    streams: int
    errors: dict[str, int]
    """Ended streams by kind, "rejected" and "dropped" records, and "undelivered" ones."""
    ledger_is_whole: bool
    """Every record that was spooled is minted once, and stored."""

    @property
    def is_delivered(self) -> bool:
        return self.ledger_is_whole and not self.errors.get("undelivered")

    def as_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    def as_rows(self) -> list[tuple[str, str]]:
        """What each figure is, and the figure."""
        errors = ", ".join(f"{count} {kind}" for kind, count in sorted(self.errors.items()))
        rates = self.records_per_second, self.measurements_per_second
        waits = (self.acknowledgement_p50_ms, self.acknowledgement_p99_ms, self.acknowledgement_max_ms)
        return [
            ("machines", f"{self.machines:,}"),
            ("records", f"{self.records:,} ({self.mebibytes:.1f} MiB)"),
            ("measurements", f"{self.measurements:,}"),
            ("seconds", f"{self.seconds:.1f}, of them {self.cpu_seconds:.1f} of this process's CPU time"),
            ("throughput", "{:,.0f} records/s, {:,.0f} measurements/s".format(*rates)),
            ("acknowledgement", "p50 {:.0f} ms, p99 {:.0f} ms, max {:.0f} ms".format(*waits)),
            ("batches", f"{self.acknowledgements:,}"),
            ("streams", f"{self.streams:,}"),
            ("errors", errors or "none"),
            ("ledger", "whole" if self.ledger_is_whole else "not whole"),
        ]


def measure(agents: Sequence[VirtualAgent], *, seconds: float, cpu_seconds: float) -> MeasuredDelivery:
    """Of agents that still have their spools open."""
    ledgers = [agent.spool.ledger() for agent in agents]
    milliseconds = sorted(1000 * each for agent in agents for each in agent.tally.seconds)
    records = sum(agent.delivered for agent in agents)
    measurements = sum(agent.measurements for agent in agents)
    errors = sum((agent.tally.troubles for agent in agents), Counter[str]())
    errors["rejected"] = sum(ledger.rejected for ledger in ledgers)
    errors["dropped"] = sum(ledger.dropped for ledger in ledgers)
    errors["undelivered"] = sum(ledger.waiting for ledger in ledgers)
    return MeasuredDelivery(
        machines=len(agents),
        records=records,
        measurements=measurements,
        mebibytes=sum(agent.bytes for agent in agents) / (1 << 20),
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        records_per_second=records / seconds,
        measurements_per_second=measurements / seconds,
        acknowledgements=len(milliseconds),
        acknowledgement_p50_ms=quantile(milliseconds, 0.5),
        acknowledgement_p99_ms=quantile(milliseconds, 0.99),
        acknowledgement_max_ms=quantile(milliseconds, 1.0),
        streams=sum(agent.tally.streams for agent in agents),
        errors={kind: count for kind, count in errors.items() if count},
        ledger_is_whole=all(agent.is_whole() for agent in agents),
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share does not exceed; 0 of none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
