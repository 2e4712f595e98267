"""What an agent says of itself to Prometheus, where that is configured; docs/operations.md lists all.

prometheus-client takes 5 MiB of memory, so it is loaded only then.  Nothing is
kept for it: each scrape reads the spool's totals and the tally of the streams.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from llmenv import __version__
from llmenv.addresses import split_address
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import start_http_server
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from llmenv_agent.connection import Trouble
from llmenv_agent.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from llmenv_agent.spool import Spool
    from llmenv_agent.tally import Tally


class AgentMetrics(Collector):
    """Read at each scrape, in a thread of its own."""

    def __init__(self, spool: Spool, tally: Tally) -> None:
        self._spool = spool
        self._tally = tally

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("llmenv_agent_build", "Version of the program.", {"version": __version__})
        yield from self._of_spool()
        yield from self._of_streams()

    def _of_spool(self) -> Iterator[Metric]:
        ledger = self._spool.ledger()
        waiting_since = self._spool.oldest_waiting_at()
        age = 0.0 if waiting_since is None else max(0.0, time.time() - waiting_since)
        yield GaugeMetricFamily(
            "llmenv_agent_spool_waiting_records", "Records never acknowledged.", ledger.waiting
        )
        yield GaugeMetricFamily(
            "llmenv_agent_spool_oldest_waiting_age_seconds", "Age of the oldest of those.", age
        )
        yield GaugeMetricFamily(
            "llmenv_agent_spool_bytes", "Bytes of all records held.", self._spool.record_bytes()
        )
        yield CounterMetricFamily("llmenv_agent_records_minted", "Records of this spool.", ledger.minted)
        yield CounterMetricFamily("llmenv_agent_records_stored", "Of those, acknowledged.", ledger.stored)
        yield CounterMetricFamily(
            "llmenv_agent_records_rejected", "Of those, refused by the collector for good.", ledger.rejected
        )
        yield CounterMetricFamily(
            "llmenv_agent_records_dropped", "Of those, replaced by tombstones.", ledger.dropped
        )

    def _of_streams(self) -> Iterator[Metric]:
        tally = self._tally
        yield GaugeMetricFamily(
            "llmenv_agent_connected",
            "1 while the collector has welcomed a stream, else 0.",
            tally.is_connected,
        )
        yield CounterMetricFamily("llmenv_agent_streams", "Streams begun since the start.", tally.streams)
        troubles = CounterMetricFamily(
            "llmenv_agent_streams_failed", "Streams that failed, by trouble.", labels=["trouble"]
        )
        for trouble in Trouble:
            troubles.add_metric([trouble.value], tally.troubles[trouble.value])
        yield troubles
        yield SummaryMetricFamily(
            "llmenv_agent_acknowledge_seconds",
            "From sending a batch to its acknowledgement.",
            count_value=tally.acknowledged,
            sum_value=tally.acknowledge_seconds,
        )


def serve(address: str, spool: Spool, tally: Tally) -> int:
    """Answers scrapes from threads of its own; returns the port. Raises UsageError."""
    registry = CollectorRegistry()
    registry.register(AgentMetrics(spool, tally))
    host, port = split_address(address)
    try:
        server, _ = start_http_server(port, host, registry=registry)
    except OSError as error:
        raise UsageError(f"metrics_listen: {address} cannot be listened on: {error.strerror}.") from error
    return int(server.server_port)
