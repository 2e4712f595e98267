"""What the next agent makes of a check that nobody saw the end of."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil
import pytest
from llmenv.fleet.v1 import record_pb2, result_pb2, run_pb2
from llmenv_agent.facts.boot import read_boot_id
from llmenv_agent.last_check import LastCheck, read_last_check, write_last_check
from llmenv_agent.quarantine import Quarantine, Subject
from llmenv_agent.recovery import close_unfinished
from llmenv_agent.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUBJECT = Subject(
    check="torch_ops",
    target="training",
    definition_hash="d1",
    environment_hash="e1",
    system="25C56",
    agent="0.1.0",
)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """With a run and a check that have begun and not ended."""
    spool = Spool(tmp_path / "spool.db", machine_id="machine")
    spool.append(record_pb2.Record(run_started=record_pb2.RunStarted(run=run_pb2.Run(run_id="run"))))
    check = record_pb2.CheckStarted(run_id="run", result_id="result", check_name="torch_ops")
    spool.append(record_pb2.Record(check_started=check))
    yield spool
    spool.close()


def began(boot_id: str, result_id: str = "result") -> LastCheck:
    return LastCheck(result_id=result_id, boot_id=boot_id, subject=SUBJECT)


def verdict(spool: Spool) -> tuple[int, str]:
    (result,) = [each.check_finished.result for each in spool.records() if each.HasField("check_finished")]
    return result.status, result.reason.text


def changes(spool: Spool) -> list[record_pb2.QuarantineChange]:
    return [each.quarantine_change for each in spool.records() if each.HasField("quarantine_change")]


def test_a_restart_of_the_machine_is_its_own_crash(spool: Spool, tmp_path: Path) -> None:
    """Another start of the system: the Mac panicked. Once is enough to leave the check out."""
    quarantine = Quarantine(tmp_path / "quarantine.json")
    assert close_unfinished(spool, quarantine, began("another boot")) == 2
    assert verdict(spool) == (result_pb2.STATUS_CRASH, "The machine restarted while the check ran.")
    (change,) = changes(spool)
    assert (change.check_name, change.environment_name, change.is_quarantined) == (
        "torch_ops",
        "training",
        True,
    )
    reason = quarantine.left_out(SUBJECT)
    assert reason is not None
    assert reason.text.endswith("The machine restarted while it ran.")
    assert spool.unfinished() == []


def test_an_agent_that_was_killed_is_no_crash_of_the_check(spool: Spool, tmp_path: Path) -> None:
    """The same start of the system, whatever was done to the clock meanwhile."""
    monotonic_lie = time.time() + 3_600
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psutil, "boot_time", lambda: monotonic_lie)
        close_unfinished(spool, Quarantine(tmp_path / "quarantine.json"), began(read_boot_id()))
    assert verdict(spool) == (result_pb2.STATUS_ERROR, "The agent ended while the check ran.")
    assert changes(spool) == []


def test_without_a_note_the_time_of_the_start_decides(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that began before the machine's last start never had a chance to end."""
    monkeypatch.setattr(psutil, "boot_time", lambda: time.time() + 60)
    close_unfinished(spool, Quarantine(tmp_path / "quarantine.json"), None)
    assert verdict(spool) == (result_pb2.STATUS_CRASH, "The machine restarted while the check ran.")


def test_the_note_of_another_check_says_nothing(spool: Spool, tmp_path: Path) -> None:
    """It is of a check that ended before."""
    close_unfinished(spool, Quarantine(tmp_path / "quarantine.json"), began("another boot", "earlier"))
    assert verdict(spool) == (result_pb2.STATUS_ERROR, "The agent ended while the check ran.")


def test_the_last_check_is_read_as_it_was_written(tmp_path: Path) -> None:
    """And half of a note is none."""
    path = tmp_path / "last-check.json"
    assert read_last_check(path) is None
    write_last_check(path, began(read_boot_id()))
    assert read_last_check(path) == began(read_boot_id())
    path.write_text(path.read_text()[:20])
    assert read_last_check(path) is None


def test_this_system_says_which_start_it_is() -> None:
    """Else a panic would be told by a time that people set."""
    assert len(read_boot_id()) == 36
