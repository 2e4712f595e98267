"""What a simulation measured of its delivery, and how it is said."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmenv_agent.simulation.slice_report import Ledger, total
from llmenv_agent.simulation.timed_tally import Content, Reconnects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv_agent.simulation.histogram import Histogram
    from llmenv_agent.simulation.slice_report import SliceReport


@dataclass(frozen=True, kw_only=True)
class MeasuredDelivery:
    """Every field is a key of the JSON, explained in docs/simulation.md."""

    machines: int
    processes: int
    runs: int
    records: int
    measurements: int
    mebibytes: float
    seconds: float
    cpu_seconds: float
    memory_mebibytes: float
    runs_per_second: float
    records_per_second: float
    measurements_per_second: float
    acknowledgement_p50_ms: float
    acknowledgement_p99_ms: float
    acknowledgement_max_ms: float
    batches: int
    round_trip_p50_ms: float
    round_trip_p99_ms: float
    round_trip_max_ms: float
    late_p99_ms: float
    late_max_ms: float
    lag_p99_ms: float
    lag_max_ms: float
    streams: int
    connect_p50_s: float
    connect_max_s: float
    lost_streams: int
    reconnects: int
    reconnect_p50_s: float
    reconnect_max_s: float
    drain_p50_s: float
    drain_max_s: float
    last_connected_at: float
    last_drained_at: float
    errors: dict[str, int]
    refused_with_retry_info: int
    ledger: dict[str, int]
    ledger_is_whole: bool
    collector_agrees: int | None

    @property
    def is_delivered(self) -> bool:
        return self.ledger_is_whole and self.collector_agrees in {None, self.machines}

    def as_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    def as_rows(self) -> list[tuple[str, str]]:
        """What each figure is, and the figure."""
        return [
            ("machines", f"{self.machines:,}, in {_counted(self.processes, 'process', 'processes')}"),
            ("runs", f"{self.runs:,}"),
            ("records", f"{self.records:,} ({self.mebibytes:.1f} MiB)"),
            ("measurements", f"{self.measurements:,}"),
            ("seconds", f"{self.seconds:.1f}, of them {self.cpu_seconds:.1f} of this program's CPU time"),
            ("throughput", self._throughput()),
            ("acknowledgement", self._milliseconds("acknowledgement") + " after a record was spooled"),
            (
                "round trip",
                self._milliseconds("round_trip") + f" after one of {self.batches:,} batches was sent",
            ),
            ("this program", self._own()),
            ("streams", self._streams()),
            *([("reconnects", self._reconnects())] if self.lost_streams else []),
            ("errors", self._errors()),
            ("ledger", self._ledger()),
        ]

    def _throughput(self) -> str:
        return (
            f"{self.runs_per_second:,.1f} runs/s, {self.records_per_second:,.0f} records/s, "
            f"{self.measurements_per_second:,.0f} measurements/s"
        )

    def _milliseconds(self, what: str) -> str:
        p50, p99, most = (getattr(self, f"{what}_{each}_ms") for each in ("p50", "p99", "max"))
        return f"p50 {p50:,.0f} ms, p99 {p99:,.0f} ms, max {most:,.0f} ms"

    def _own(self) -> str:
        late = f", {self.late_p99_ms:,.0f} ms behind its pace" if self.late_max_ms else ""
        return (
            f"p99 {self.lag_p99_ms:,.0f} ms late for its own events{late}; {self.memory_mebibytes:,.0f} MiB"
        )

    def _streams(self) -> str:
        return (
            f"{self.streams:,}; "
            f"connected after p50 {self.connect_p50_s:.1f} s, max {self.connect_max_s:.1f} s"
        )

    def _reconnects(self) -> str:
        return (
            f"{self.reconnects:,} of {self.lost_streams:,} lost; "
            f"connected after p50 {self.reconnect_p50_s:.1f} s, max {self.reconnect_max_s:.1f} s; "
            f"drained after p50 {self.drain_p50_s:.1f} s, max {self.drain_max_s:.1f} s"
        )

    def _errors(self) -> str:
        errors = [f"{count:,} {kind}" for kind, count in sorted(self.errors.items())]
        if self.refused_with_retry_info:
            errors.append(f"{self.refused_with_retry_info:,} refused for a while (RetryInfo)")
        return ", ".join(errors) or "none"

    def _ledger(self) -> str:
        parts = ", ".join(f"{count:,} {name}" for name, count in self.ledger.items() if count)
        agrees = "it was not asked"
        if self.collector_agrees is not None:
            agrees = f"the collector says so of {self.collector_agrees:,} machines"
        return f"{'whole' if self.ledger_is_whole else 'not whole'}: {parts or 'nothing minted'}; {agrees}"


def measured(parts: Sequence[SliceReport]) -> MeasuredDelivery:
    """Of all processes together."""
    seconds = max(part.ended_at for part in parts) - min(part.began_at for part in parts)
    records, content = sum(part.records for part in parts), sum((part.content for part in parts), Content())
    ledger = sum((part.ledger for part in parts), Ledger())
    return MeasuredDelivery(
        machines=sum(part.machines for part in parts),
        processes=len(parts),
        runs=content.runs,
        records=records,
        measurements=content.measurements,
        mebibytes=content.bytes / (1 << 20),
        seconds=seconds,
        cpu_seconds=sum(part.cpu_seconds for part in parts),
        memory_mebibytes=sum(part.memory_bytes for part in parts) / (1 << 20),
        runs_per_second=content.runs / seconds,
        records_per_second=records / seconds,
        measurements_per_second=content.measurements / seconds,
        batches=total(part.round_trip for part in parts).count,
        errors=dict(sum((part.failures for part in parts), Counter())),
        refused_with_retry_info=sum(part.refusals for part in parts),
        streams=sum(part.streams for part in parts),
        ledger=dataclasses.asdict(ledger),
        ledger_is_whole=not any(part.not_whole for part in parts),
        collector_agrees=_agreed(parts),
        **_waits(parts),
        **_streams(parts),
    )


def _agreed(parts: Sequence[SliceReport]) -> int | None:
    told = [part.agreed for part in parts if part.agreed is not None]
    return sum(told) if len(told) == len(parts) else None


def _waits(parts: Sequence[SliceReport]) -> dict[str, Any]:
    acknowledgement = total(part.acknowledgement for part in parts)
    round_trip = total(part.round_trip for part in parts)
    late, lag = total(part.lateness for part in parts), total(part.lag for part in parts)
    return {
        **{f"acknowledgement_{name}_ms": 1000 * each for name, each in _three(acknowledgement)},
        **{f"round_trip_{name}_ms": 1000 * each for name, each in _three(round_trip)},
        "late_p99_ms": 1000 * late.quantile(0.99),
        "late_max_ms": 1000 * late.longest,
        "lag_p99_ms": 1000 * lag.quantile(0.99),
        "lag_max_ms": 1000 * lag.longest,
    }


def _three(histogram: Histogram) -> list[tuple[str, float]]:
    return [("p50", histogram.quantile(0.5)), ("p99", histogram.quantile(0.99)), ("max", histogram.longest)]


def _streams(parts: Sequence[SliceReport]) -> dict[str, Any]:
    first = total(part.first_connected for part in parts)
    again = sum((part.reconnects for part in parts), Reconnects())
    return {
        "connect_p50_s": first.quantile(0.5),
        "connect_max_s": first.longest,
        "lost_streams": again.lost,
        "reconnects": again.connected.count,
        "reconnect_p50_s": again.connected.quantile(0.5),
        "reconnect_max_s": again.connected.longest,
        "drain_p50_s": again.drained.quantile(0.5),
        "drain_max_s": again.drained.longest,
        "last_connected_at": again.last_connected_at,
        "last_drained_at": again.last_drained_at,
    }


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
