"""Checks that keep ending badly are left out for a while, and let in again."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from llmenv.fleet.v1 import result_pb2
from llmenv_agent.quarantine import Quarantine, Subject, entries

from .set_clocks import SetClocks

if TYPE_CHECKING:
    from pathlib import Path

PASS, FAIL, SKIP, ERROR, TIMEOUT, CRASH = (
    getattr(result_pb2, f"STATUS_{word}") for word in ("PASS", "FAIL", "SKIP", "ERROR", "TIMEOUT", "CRASH")
)
SUBJECT = Subject(
    check="torch_ops",
    target="training",
    definition_hash="d1",
    environment_hash="e1",
    system="25C56",
    agent="0.1.0",
)
ELSEWHERE = dataclasses.replace(SUBJECT, target="other")
DAY = 86_400.0
WALL = 1_780_000_000.0


class Case:
    """A quarantine in a file, and clocks that the test sets."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "quarantine.json"
        self.clocks = SetClocks(WALL)
        self.reopen()

    def reopen(self) -> None:
        self.quarantine = Quarantine(self.path, clocks=self.clocks.clocks)

    def end(self, *statuses: result_pb2.Status.ValueType, subject: Subject = SUBJECT) -> list[str]:
        """How the check ended, time after time; what changed by it."""
        changes = [self.quarantine.note(subject, status) for status in statuses]
        return [
            f"{'out' if change.is_quarantined else 'in'}: {change.reason.text}"
            for change in changes
            if change
        ]

    def begin(self, subject: Subject = SUBJECT) -> str:
        """What stands against it when it should begin; "let in: ..." where that is new."""
        change = self.quarantine.release(subject)
        reason = self.quarantine.left_out(subject)
        return f"let in: {change.reason.text}" if change else reason.text if reason else ""


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_three_times_in_a_row_is_enough(case: Case) -> None:
    """Crashes and timeouts count alike; it says why and until when, and other targets keep the check."""
    assert case.end(CRASH, TIMEOUT) == []
    assert case.begin() == ""
    assert case.end(CRASH) == ["out: It crashed or did not end in time 3 times in a row."]
    assert case.begin() == (
        "Left out until 2026-05-29T20:26Z: It crashed or did not end in time 3 times in a row."
    )
    assert case.begin(ELSEWHERE) == ""


@pytest.mark.parametrize("status", [PASS, FAIL])
def test_an_end_with_a_verdict_breaks_the_row(case: Case, status: result_pb2.Status.ValueType) -> None:
    """Also a wrong result is one."""
    assert case.end(CRASH, CRASH, status, CRASH, CRASH) == []
    assert case.begin() == ""


@pytest.mark.parametrize("status", [SKIP, ERROR])
def test_what_did_not_run_tells_nothing(case: Case, status: result_pb2.Status.ValueType) -> None:
    """It neither counts nor breaks the row: being left out is itself a skip."""
    assert len(case.end(CRASH, status, CRASH, status, CRASH)) == 1


@pytest.mark.parametrize("what", ["definition_hash", "environment_hash", "system", "agent"])
def test_a_change_of_version_lets_it_in(case: Case, what: str) -> None:
    """Something was mended, perhaps: it has three tries again."""
    case.end(CRASH, CRASH, CRASH)
    changed = dataclasses.replace(SUBJECT, **{what: "another"})
    assert case.begin(changed) == (
        "let in: A version changed: the check, its environment, the system or the agent."
    )
    assert case.begin(changed) == ""
    assert case.end(CRASH, CRASH, subject=changed) == []


def test_after_a_day_it_has_one_try(case: Case) -> None:
    """Ending badly once more is enough, ending well forgets everything."""
    case.end(CRASH, CRASH, CRASH)
    case.clocks.sleep(DAY - 1)
    assert case.begin().startswith("Left out until")
    case.clocks.sleep(2)
    assert case.begin() == "let in: Its time is over; if it ends badly once more, it is left out again."
    assert case.end(CRASH) == ["out: It crashed or did not end in time 3 times in a row."]
    case.clocks.sleep(DAY + 1)
    case.begin()
    assert case.end(PASS, CRASH, CRASH) == []


def test_ending_well_when_asked_for_by_name_lets_it_in(case: Case) -> None:
    """Whoever mended something without a change of version need not wait."""
    case.end(CRASH, CRASH, CRASH)
    assert case.end(PASS) == ["in: It ended well when it was asked for by name."]
    assert case.begin() == ""


def test_a_clock_that_is_put_back_leaves_nobody_out_for_years(case: Case) -> None:
    """Never longer than a day."""
    case.end(CRASH, CRASH, CRASH)
    case.clocks.set_forward(-10 * 365 * DAY)
    assert case.begin().startswith("let in: ")


def test_a_restart_of_the_agent_forgets_nothing(case: Case) -> None:
    """Neither the row nor the quarantine."""
    case.end(CRASH, CRASH)
    case.reopen()
    assert len(case.end(CRASH)) == 1
    case.reopen()
    assert case.begin().startswith("Left out until")


def test_nothing_is_written_while_nothing_changes(case: Case) -> None:
    """An agent whose checks end well writes no file at all."""
    case.end(PASS, FAIL, SKIP)
    case.begin()
    assert not case.path.exists()


def test_a_damaged_file_leaves_nothing_out(case: Case) -> None:
    """Running once too often is the milder error."""
    case.end(CRASH, CRASH, CRASH)
    case.path.write_text('[{"subject": {}}]')
    assert entries(case.path) == []
    case.reopen()
    assert case.begin() == ""
