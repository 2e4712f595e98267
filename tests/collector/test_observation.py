"""What a collector says of itself: metrics over HTTP, health, and a page that lists every metric."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from llmenv.ids import new_id
from llmenv_collector.serving import metrics
from prometheus_client.parser import text_string_to_metric_families

from .conftest import PATIENCE_SECONDS, RunningCollector, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
UNITS = ("_seconds", "_bytes", "_total", "_info", "_records", "_streams", "_writable")


@pytest.fixture
def observed(tmp_path: Path, unused_port: int) -> Iterator[tuple[RunningCollector, str]]:
    """A collector with metrics, and where they are."""
    address = f"127.0.0.1:{unused_port}"
    running = RunningCollector(tmp_path / "data", "--heartbeat-seconds", "0.2", "--metrics-listen", address)
    yield running, f"http://{address}/metrics"
    running.stop()


def scraped(url: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """Value by name and label values; every line parses."""
    with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    samples = [sample for family in families for sample in family.samples]
    return {(sample.name, tuple(sample.labels.values())): sample.value for sample in samples}


def test_prometheus_reads_what_happened(observed: tuple[RunningCollector, str]) -> None:
    """Stored, rejected by cause, dropped and sent twice are counted; commits, acknowledgements are timed."""
    collector, url = observed
    machine, spool_id = collector.enrol("secret-hostname"), new_id()
    foreign = machine.record(machine_id=new_id(), check_started={})
    records = [machine.check_started(), b"\xff\xff", foreign]
    tombstone = machine.record(
        tombstone={"first_sequence": 4, "last_sequence": 9, "dropped_records": 6, "reason": "it was full"}
    )
    stream = machine.connect(spool_id)
    for _ in range(2):
        stream.deliver(records, first=1)
    stream.deliver([tombstone], first=9)
    prefix = "llmenv_collector"
    wait_until(lambda: scraped(url)[f"{prefix}_acknowledge_seconds_count", ()] == 3)
    seen = scraped(url)
    assert seen[f"{prefix}_records_dropped_total", ()] == 6
    assert seen[f"{prefix}_records_stored_total", ()] == 1
    assert seen[f"{prefix}_records_rejected_total", ("malformed",)] == 1
    assert seen[f"{prefix}_records_rejected_total", ("foreign",)] == 1
    assert seen[f"{prefix}_records_duplicate_total", ()] == 3
    assert seen[f"{prefix}_streams", ()] == 1
    assert seen[f"{prefix}_store_writable", ()] == 1
    assert seen[f"{prefix}_commit_seconds_count", ()] >= 2
    assert seen[f"{prefix}_database_bytes", ()] > 0
    assert seen[f"{prefix}_queue_records", ()] == 0
    stream.close()
    wait_until(lambda: scraped(url).get((f"{prefix}_streams_ended_total", ("OK",)), 0) == 1)
    wait_until(lambda: scraped(url)[f"{prefix}_streams", ()] == 0)
    said = str(scraped(url))
    assert [text for text in (machine.machine_id, spool_id, "secret-hostname") if text in said] == []


def test_nothing_listens_for_prometheus_unless_it_is_said(collector: RunningCollector) -> None:
    """Two ports, and no third."""
    import psutil

    ports = {
        each.laddr.port
        for each in psutil.Process(collector.process.pid).net_connections("tcp")
        if each.status == psutil.CONN_LISTEN
    }
    assert ports == {
        int(address.rpartition(":")[2]) for address in (collector.people_address, collector.agents_address)
    }


def test_names_follow_prometheus_conventions() -> None:
    """One prefix, and the unit or the thing counted at the end."""
    samples = [sample for family in metrics.REGISTRY.collect() for sample in family.samples]
    names = [sample.name for sample in samples if not sample.name.endswith("_created")]
    plain = {re.sub(r"_(bucket|count|sum)$", "", name) for name in names}
    assert [name for name in sorted(plain) if not name.startswith("llmenv_collector_")] == []
    assert [name for name in sorted(plain) if not name.endswith(UNITS)] == []


def test_the_page_lists_every_metric() -> None:
    """With its kind and what it says, word for word."""
    rows = re.findall(
        r"^\| `(llmenv_collector_[a-z_]+)` \| (\w+) \| (.*?) \|$", PAGE.read_text(), flags=re.MULTILINE
    )
    declared = [
        (
            family.name + {"counter": "_total", "info": "_info"}.get(family.type, ""),
            family.type,
            family.documentation,
        )
        for family in metrics.REGISTRY.collect()
    ]
    assert sorted(rows) == sorted(declared)
