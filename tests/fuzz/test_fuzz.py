"""A fraction of what `make fuzz` makes up: 6,000 records of its 1,000,000, 3 requests an RPC of its 200."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import grpc
from hypothesis import given, settings
from hypothesis import strategies as st
from llmenv.fleet.v1 import record_pb2
from llmenv.ids import new_id
from llmenv_collector.delivery import ingest

from ..collector.conftest import RunningCollector  # noqa: TID252 (tests are no installed package)
from . import ingest_fuzz, random_messages, rpc_fuzz

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

RECORDS, REQUESTS_EACH = 6_000, 3


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.randoms(use_true_random=False))
def test_no_record_makes_ingest_raise(chance: Random) -> None:
    """It is rows or a reason, and only what is understood is looked at."""
    reading = ingest.read(ingest_fuzz.arrival(1, new_id(), chance))
    assert bool(reading.reason) == (reading.cause is not None)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.randoms(use_true_random=False))
def test_made_up_messages_are_messages(chance: Random) -> None:
    """What is made up can be read again, and says the same."""
    made = random_messages.message(record_pb2.Record.DESCRIPTOR, chance)
    content = made.SerializeToString(deterministic=True)
    assert record_pb2.Record.FromString(content).SerializeToString(deterministic=True) == content


def test_random_records_are_stored_and_break_no_view(tmp_path: Path) -> None:
    """Each is stored or rejected, and every value of every view can be read."""
    tally = ingest_fuzz.run(tmp_path, records=RECORDS, seed=20_260_301)
    assert tally.records == RECORDS
    assert min(tally.accepted, tally.rejected, tally.rows_seen) > RECORDS // 10


def test_every_rpc_answers_random_requests(tmp_path: Path) -> None:
    """With a code that means something, and the collector goes on."""
    with closing_collector(tmp_path) as collector:
        rpcs = rpcs_of(collector)
        assert rpc_fuzz.run(rpcs, each=REQUESTS_EACH, seed=20_260_302) == REQUESTS_EACH * len(
            rpc_fuzz.METHODS
        )
        assert rpcs.who_am_i() == "admin"
        assert "Traceback" not in "".join(collector.log), "".join(collector.log)


def closing_collector(folder: Path) -> closing[RunningCollector]:
    collector = RunningCollector(folder / "data", "--sql-memory-mb", "400")
    collector.close = collector.stop
    return closing(collector)


def rpcs_of(collector: RunningCollector) -> rpc_fuzz.Rpcs:
    machine = collector.enrol()
    credentials = grpc.ssl_channel_credentials(collector.ca, machine.key, machine.certificate)
    return rpc_fuzz.Rpcs(
        people=collector.people_channel(),
        machines=grpc.secure_channel(collector.agents_address, credentials),
        secret=collector.admin_secret,
    )
