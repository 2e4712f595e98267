"""What a collector says of itself to Prometheus: each metric is declared here; docs/operations.md lists all.

No label names a machine, a spool or a person: the number of series does not grow
with the fleet.  `--metrics-listen` serves them over plain HTTP, by default nowhere.
"""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import start_http_server

from llmenv_collector.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmenv_collector.settings import Address

REGISTRY = CollectorRegistry()
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

BUILD = Info("llmenv_collector_build", "Version of the program.", registry=REGISTRY)
QUEUE_RECORDS = Gauge(
    "llmenv_collector_queue_records", "Records received and not committed yet.", registry=REGISTRY
)
QUEUE_BYTES = Gauge("llmenv_collector_queue_bytes", "Bytes of those records.", registry=REGISTRY)
QUEUE_AGE = Gauge(
    "llmenv_collector_queue_oldest_age_seconds",
    "How long the writer has let the next item wait.",
    registry=REGISTRY,
)
LINE = Gauge(
    "llmenv_collector_queue_blocked_streams",
    "Streams that are not read from, since the queue has no room for what they sent.",
    registry=REGISTRY,
)
COMMIT_SECONDS = Histogram(
    "llmenv_collector_commit_seconds",
    "Time of one transaction with its rows.",
    buckets=SECONDS,
    registry=REGISTRY,
)
CHECKPOINT_SECONDS = Histogram(
    "llmenv_collector_checkpoint_seconds",
    "Time to move the log into the database file.",
    buckets=SECONDS,
    registry=REGISTRY,
)
ACKNOWLEDGE_SECONDS = Histogram(
    "llmenv_collector_acknowledge_seconds",
    "From a batch's arrival to its acknowledgement.",
    buckets=SECONDS,
    registry=REGISTRY,
)
STORED = Counter("llmenv_collector_records_stored", "Records stored.", registry=REGISTRY)
DUPLICATES = Counter(
    "llmenv_collector_records_duplicate", "Records that were durable already.", registry=REGISTRY
)
REJECTED = Counter(
    "llmenv_collector_records_rejected", "Records refused for good, by cause.", ["cause"], registry=REGISTRY
)
DROPPED = Counter(
    "llmenv_collector_records_dropped",
    "Records that machines had to drop, as their tombstones say.",
    registry=REGISTRY,
)
STREAMS = Gauge("llmenv_collector_streams", "Open streams of agents.", registry=REGISTRY)
STREAMS_ENDED = Counter(
    "llmenv_collector_streams_ended", "Ended streams, by status code.", ["code"], registry=REGISTRY
)
WRITABLE = Gauge(
    "llmenv_collector_store_writable", "1 while records can be stored, else 0.", registry=REGISTRY
)
DATABASE_BYTES = Gauge(
    "llmenv_collector_database_bytes", "Size of the database file without its log.", registry=REGISTRY
)
LOG_BYTES = Gauge(
    "llmenv_collector_log_bytes", "Committed, and not in the database file yet.", registry=REGISTRY
)
DISK_FREE_BYTES = Gauge(
    "llmenv_collector_disk_free_bytes", "Free on the disk of the database.", registry=REGISTRY
)
NOTICES = Counter(
    "llmenv_collector_notices", "Notices made of changes of state and of reports.", registry=REGISTRY
)
NOTICE_ATTEMPTS = Counter(
    "llmenv_collector_notice_attempts",
    "Attempts to send a notice to a webhook, by what became of it: delivered, waiting or given_up.",
    ["state"],
    registry=REGISTRY,
)
REPORTS = Counter(
    "llmenv_collector_reports",
    "Scheduled reports, by what became of them: made or failed.",
    ["outcome"],
    registry=REGISTRY,
)


def read_when_asked(readings: dict[Gauge, Callable[[], float]]) -> None:
    """Gauges that cost something are read at each scrape and never in between."""
    for gauge, read in readings.items():
        gauge.set_function(read)
    BUILD.info({"version": importlib.metadata.version("llmenv")})


def serve(address: Address) -> int:
    """Answers scrapes from threads of its own; returns the port.  Raises UsageError."""
    try:
        server, _ = start_http_server(address.port, address.host, registry=REGISTRY)
    except OSError as error:
        raise UsageError(f"{address} cannot be listened on for metrics: {error.strerror}.") from error
    return int(server.server_port)
