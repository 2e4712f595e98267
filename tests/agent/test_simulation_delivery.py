"""What virtual agents need of the real spool and count of their delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from llmenv.fleet.v1 import record_pb2
from llmenv.ids import new_id
from llmenv_agent.errors import RecordTooLargeError, UsageError
from llmenv_agent.simulation.enrolling import enrol_machines
from llmenv_agent.simulation.fleet import Fleet
from llmenv_agent.simulation.virtual_agent import TimedTally
from llmenv_agent.spool import MAX_RECORD_BYTES, Spool
from llmenv_agent.spool_file import IN_MEMORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def spool() -> Iterator[Spool]:
    opened = Spool(IN_MEMORY, machine_id=new_id())
    yield opened
    opened.close()


def started(check: str = "torch_basics") -> record_pb2.Record:
    return record_pb2.Record(
        check_started=record_pb2.CheckStarted(run_id=new_id(), result_id=new_id(), check_name=check)
    )


def test_a_spool_in_memory_leaves_no_file(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And holds what it is given."""
    monkeypatch.chdir(tmp_path)
    other = Spool(IN_MEMORY, machine_id=new_id())
    other.append(started())
    assert (other.marks().last_sequence, spool.marks().last_sequence) == (1, 0)
    other.close()
    assert list(tmp_path.iterdir()) == []


def test_several_records_are_one_transaction(spool: Spool) -> None:
    """One wake-up for all; none at all where there are none."""
    wakes: list[int] = []
    spool.subscribe(lambda: wakes.append(1))
    assert spool.extend([started(), started(), started()]) == 3
    assert spool.extend([]) == 0
    assert (len(wakes), spool.ledger().minted) == (1, 3)


def test_of_several_records_all_or_none_are_spooled(spool: Spool) -> None:
    """One that is too large takes the others back, and the next sequence is not skipped."""
    with pytest.raises(RecordTooLargeError):
        spool.extend([started(), started("x" * (MAX_RECORD_BYTES + 1))])
    assert spool.marks().last_sequence == 0
    assert spool.append(started()) == 1


def test_a_history_is_spooled_as_it_is(spool: Spool) -> None:
    """Ids and times stay those of the history; the machine becomes the enrolled one."""
    fleet = Fleet(seed=1, machines=1, days=1)
    history = list(fleet.records(fleet.machines[0]))
    identity = [(record.record_id, record.measured_at.ToNanoseconds()) for record in history]
    spool.extend(history)
    kept = list(spool.records())
    assert identity == [(record.record_id, record.measured_at.ToNanoseconds()) for record in kept]
    assert {record.machine_id for record in kept} == {spool.marks().machine_id}


def test_each_acknowledgement_is_timed_once() -> None:
    """Cumulative: one may be for several batches."""
    tally = TimedTally()
    tally.begin()
    for last_sequence in (10, 20, 30):
        tally.sent(last_sequence)
    tally.was_acknowledged(20)
    assert (len(tally.seconds), tally.watermark) == (2, 20)
    tally.was_acknowledged(20)
    tally.was_acknowledged(30)
    assert (len(tally.seconds), tally.acknowledged) == (3, 3)


def test_too_few_tokens_are_said_before_anybody_enrols(tmp_path: Path) -> None:
    """With the command that makes them."""
    fleet = Fleet(seed=1, machines=3, days=1)
    with pytest.raises(UsageError, match="token create --count 3"):
        enrol_machines(fleet.machines, ["one"], tmp_path)
    assert list(tmp_path.iterdir()) == []
