"""What an agent says of itself to Prometheus, when it is asked to."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from llmenv.fleet.v1.record_pb2 import CheckStarted, EnvironmentSnapshot, Record
from llmenv.ids import new_id
from llmenv_agent import metrics
from llmenv_agent.configuration import parse_configuration
from llmenv_agent.described import Described
from llmenv_agent.errors import UsageError
from llmenv_agent.spool import Spool
from llmenv_agent.tally import Tally
from prometheus_client.parser import text_string_to_metric_families

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool.db", machine_id=new_id())


def a_record() -> Record:
    return Record(check_started=CheckStarted(run_id=new_id(), result_id=new_id(), check_name="packages"))


def unused_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def scraped(port: int) -> dict[tuple[str, tuple[str, ...]], float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    samples = [sample for family in families for sample in family.samples]
    return {(sample.name, tuple(sample.labels.values())): sample.value for sample in samples}


def test_prometheus_reads_the_spool_and_the_streams(spool: Spool) -> None:
    """Depth, age, rejects and acknowledgement times; nothing names the machine."""
    for _ in range(3):
        spool.append(a_record())
    spool.offer_after(0)
    spool.acknowledge(2)
    spool.reject(2, reason="no")
    tally = Tally()
    tally.begin()
    tally.sent(2)
    tally.was_acknowledged(2)
    tally.troubles["unreachable"] += 4
    port = metrics.serve(unused_address(), spool, tally)
    seen = scraped(port)
    assert seen["llmenv_agent_spool_waiting_records", ()] == 1
    assert 0 <= seen["llmenv_agent_spool_oldest_waiting_age_seconds", ()] < 60
    assert seen["llmenv_agent_records_stored_total", ()] == 1
    assert seen["llmenv_agent_records_rejected_total", ()] == 1
    assert seen["llmenv_agent_streams_total", ()] == 1
    assert seen["llmenv_agent_streams_failed_total", ("unreachable",)] == 4
    assert seen["llmenv_agent_streams_failed_total", ("revoked",)] == 0
    assert seen["llmenv_agent_acknowledge_seconds_count", ()] == 1
    assert spool.marks().machine_id not in str(seen)


def test_only_batches_up_to_the_watermark_were_acknowledged() -> None:
    """A stream that breaks takes its unanswered batches with it."""
    tally = Tally()
    for last in (5, 9, 12):
        tally.sent(last)
    tally.was_acknowledged(9)
    assert tally.acknowledged == 2
    tally.begin()
    tally.was_acknowledged(12)
    assert tally.acknowledged == 2


def test_the_page_lists_every_metric(spool: Spool) -> None:
    """With its kind and what it says, word for word."""
    rows = re.findall(
        r"^\| `(llmenv_agent_[a-z_]+)` \| (\w+) \| (.*?) \|$", PAGE.read_text(), flags=re.MULTILINE
    )
    collected = [
        (
            family.name + {"counter": "_total", "info": "_info"}.get(family.type, ""),
            family.type,
            family.documentation,
        )
        for family in metrics.AgentMetrics(spool, Tally()).collect()
    ]
    assert sorted(rows) == sorted(collected)


def test_an_agent_that_is_not_asked_loads_no_prometheus() -> None:
    """Its memory is bounded."""
    code = "import sys, llmenv_agent.daemon; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_address_that_is_none_is_refused(spool: Spool) -> None:
    """With the file and the line; and one that is in use when the agent starts."""
    with pytest.raises(UsageError, match=r"agent\.toml:2: .*not host:port"):
        parse_configuration('[agent]\nmetrics_listen = "9464"', path=Path("agent.toml"))
    port = metrics.serve(unused_address(), spool, Tally())
    with pytest.raises(UsageError, match="cannot be listened on"):
        metrics.serve(f"127.0.0.1:{port}", spool, Tally())


def test_descriptions_are_spooled_once_and_again_when_asked_for(spool: Spool) -> None:
    """By the hash; what nobody described is not made up."""
    described, seen_at = Described(spool), time.time()
    for _ in range(2):
        described.spool("a", EnvironmentSnapshot(environment={"environment_hash": "aa"}), always=False)
    described.spool("b", EnvironmentSnapshot(environment={"environment_hash": "bb"}), always=False)
    assert described.hashes() == ["aa", "bb"]
    described.repeat(["bb", "cc"])
    hashes = [record.environment_snapshot.environment.environment_hash for record in spool.records()]
    assert hashes == ["aa", "bb", "bb"]
    assert time.time() - seen_at < 60
