"""A record that the collector refuses for good: put aside, listed, and tried again on request."""

from __future__ import annotations

import csv
import io
import json
import sys
from typing import TYPE_CHECKING

import pytest
from llmenv.fleet.v1 import record_pb2, run_pb2
from llmenv.ids import new_id
from llmenv_agent.spool import Spool

if TYPE_CHECKING:
    from conftest import AgentFolder

REASON = "command_outcome.command_id is 'no UUID', which is not a UUID in lower case with hyphens."


def accepted() -> record_pb2.Record:
    return record_pb2.Record(command_outcome=record_pb2.CommandOutcome(command_id=new_id()))


def poisoned(agent: AgentFolder) -> str:
    """Spool a record that no collector accepts between two that any does; returns its id."""
    machine_id = json.loads((agent.path / "state" / "identity.json").read_text())["machine_id"]
    spool = Spool(agent.path / "state" / "spool.db", machine_id=machine_id)
    poison = record_pb2.Record(command_outcome=record_pb2.CommandOutcome(command_id="no UUID"))
    for record in (accepted(), poison, accepted()):
        spool.append(record)
    spool.close()
    return poison.record_id


def deliver(agent: AgentFolder) -> None:
    agent.configure(
        f'[agent]\nchecks_folders = ["{agent.path}"]\n'
        f'[[target]]\nname = "plain"\npython = "{sys.executable}"\n'
        '[suite.small]\nchecks = ["small"]\n[schedule.small]\nevery = "24h"\n'
    )
    (agent.path / "small.py").write_text(
        '"""Is it small?"""\nSUITES = ()\nREQUIRES = ()\nTIMEOUT_SECONDS = 30\nPARAMETERS = {}\n'
        'def run(probe):\n    probe.passed("It is small.")\n'
    )
    done = agent.call("run", "--once")
    assert done.returncode == 0, done.stderr


def test_a_poison_record_is_put_aside_and_the_rest_flows(enrolled: AgentFolder) -> None:
    """One record is refused by a real collector; the others are stored, and nothing waits."""
    record_id = poisoned(enrolled)
    deliver(enrolled)
    spool = enrolled.status()["spool"]
    assert (spool["rejected"], spool["dead_letters"], spool["waiting"], spool["dropped"]) == (1, 1, 0, 0)
    assert int(str(spool["stored"])) > 4
    listed = json.loads(enrolled.call("dead-letters", "list", "--format", "json").stdout)
    assert [(one["record_id"], one["kind"], one["reason"]) for one in listed] == [
        (record_id, "command_outcome", REASON)
    ]


def test_a_retried_record_is_delivered_again(enrolled: AgentFolder) -> None:
    """Under its id at a new place; a collector that still refuses it puts it aside again."""
    record_id = poisoned(enrolled)
    deliver(enrolled)
    assert enrolled.call("dead-letters", "retry", record_id).stderr == "1 records wait for delivery again.\n"
    assert (enrolled.status()["spool"]["dead_letters"], enrolled.status()["spool"]["waiting"]) == (0, 1)
    deliver(enrolled)
    spool = enrolled.status()["spool"]
    assert (spool["rejected"], spool["dead_letters"], spool["waiting"]) == (2, 1, 0)


@pytest.mark.parametrize("form", ["table", "csv", "md"])
def test_the_list_has_every_form(enrolled: AgentFolder, form: str) -> None:
    """For people and for programs."""
    record_id = poisoned(enrolled)
    deliver(enrolled)
    listed = enrolled.call("dead-letters", "list", "--format", form).stdout
    assert record_id in listed
    if form == "csv":
        assert [row["reason"] for row in csv.DictReader(io.StringIO(listed))] == [REASON]


def test_an_id_that_is_no_dead_letter_is_refused(enrolled: AgentFolder) -> None:
    """One sentence, and nothing is spooled."""
    poisoned(enrolled)
    done = enrolled.call("dead-letters", "retry", "nothing")
    assert (done.returncode, "No dead letter has the id 'nothing'" in done.stderr) == (2, True)
    assert enrolled.status()["spool"]["minted"] == 3


def test_without_a_spool_there_is_nothing_to_list(agent: AgentFolder) -> None:
    """A machine that never ran anything."""
    done = agent.call("dead-letters", "list")
    assert (done.returncode, "There is no spool" in done.stderr) == (2, True)


def test_a_retried_start_of_a_run_opens_nothing(agent: AgentFolder) -> None:
    """It is delivered as it was; the agent does not take the run for one of its own that never ended."""
    spool = Spool(agent.path / "spool.db", machine_id="machine")
    sequence = spool.append(
        record_pb2.Record(run_started=record_pb2.RunStarted(run=run_pb2.Run(run_id="run", suite="quick")))
    )
    spool.append(record_pb2.Record(run_finished=record_pb2.RunFinished(run_id="run")))
    spool.offer_after(0)
    spool.reject(sequence, reason="not now")
    assert spool.retry_dead_letters() == 1
    assert (spool.unfinished(), spool.dead_letters()) == ([], [])
    assert spool.marks().last_sequence == 3
    spool.close()
