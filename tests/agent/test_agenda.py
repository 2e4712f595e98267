"""Suites wait for an idle machine, before a run and within it, and what waited is recorded."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING

import pytest
from llmenv.cron import parse_cron
from llmenv.fleet.v1 import record_pb2, result_pb2
from llmenv_agent.admission import Admission
from llmenv_agent.agenda import Agenda
from llmenv_agent.clocks import SYSTEM_CLOCKS
from llmenv_agent.quarantine import Quarantine, Subject
from llmenv_agent.schedule import Schedule
from llmenv_agent.schedule_settings import ScheduleSettings
from llmenv_agent.verdict import spoken

from .set_clocks import SetClocks

if TYPE_CHECKING:
    from pathlib import Path

HOUR = 3_600.0
QUICK = ScheduleSettings(suite="quick", every_seconds=HOUR, splay_seconds=0)
BENCH = ScheduleSettings(suite="bench", every_seconds=HOUR, splay_seconds=0)


class Machine:
    """Says what stands in the way, as the test sets it, and keeps what it is told."""

    def __init__(self) -> None:
        self.clocks = SetClocks()
        self.told: list[record_pb2.SuiteWaited | record_pb2.QuarantineChange] = []
        self.reason = ""

    def objection(self) -> result_pb2.Sentence | None:
        return spoken(self.reason) if self.reason else None

    def waits(self) -> list[tuple[str, float, str, bool]]:
        return [
            (each.suite, round(each.waited_seconds), each.reason.text, each.is_given_up)
            for each in self.told
            if isinstance(each, record_pb2.SuiteWaited)
        ]


@pytest.fixture
def machine() -> Machine:
    return Machine()


def agenda(machine: Machine, folder: Path, *settings: ScheduleSettings) -> Agenda:
    schedule = Schedule(settings, path=folder / "schedule.json", clocks=machine.clocks.clocks)
    return Agenda(
        schedule, objection=machine.objection, tell=machine.told.append, clocks=machine.clocks.clocks
    )


def test_on_an_idle_machine_a_due_suite_starts_at_once(machine: Machine, tmp_path: Path) -> None:
    """Nothing waited, so nothing is recorded."""
    suites = agenda(machine, tmp_path, QUICK, BENCH)
    assert {suites.next(), suites.next()} == {"quick", "bench"}
    assert suites.next() is None
    assert machine.told == []


def test_a_suite_waits_until_the_machine_is_idle(machine: Machine, tmp_path: Path) -> None:
    """It starts then, with a record of how long it waited and of the first reason; sleep does not count."""
    suites = agenda(machine, tmp_path, QUICK)
    machine.reason = "The machine is on battery."
    due_at = machine.clocks.wall
    assert suites.next() is None
    machine.clocks.wait(60)
    machine.clocks.sleep(600)
    machine.reason = "Memory is short: memory pressure is warn."
    assert suites.next() is None
    machine.reason = ""
    assert suites.next() == "quick"
    assert machine.waits() == [("quick", 60, "The machine is on battery.", False)]
    (waited,) = machine.told
    assert isinstance(waited, record_pb2.SuiteWaited)
    assert waited.due_at.ToMicroseconds() == due_at * 1e6
    assert suites.next() is None


def test_a_suite_that_still_waits_at_its_next_time_is_given_up(machine: Machine, tmp_path: Path) -> None:
    """The new time waits in its place: hours in use are a record each, and one run in the end."""
    suites = agenda(machine, tmp_path, QUICK)
    machine.reason = "The machine is on battery."
    for _ in range(3 * 60):
        assert suites.next() is None
        machine.clocks.wait(60)
    machine.reason = ""
    assert suites.next() == "quick"
    assert suites.next() is None
    assert machine.waits() == 3 * [("quick", HOUR, "The machine is on battery.", True)]


def test_a_new_schedule_keeps_what_waits(machine: Machine, tmp_path: Path) -> None:
    """It has waited since it was due; what the new schedule does not have is given up."""
    suites = agenda(machine, tmp_path, QUICK, BENCH)
    machine.reason = "The machine is on battery."
    assert suites.next() is None
    machine.clocks.wait(600)
    suites.use([QUICK])
    machine.reason = ""
    assert suites.next() == "quick"
    assert machine.waits() == [
        ("bench", 600, "The machine is on battery.", True),
        ("quick", 600, "The machine is on battery.", False),
    ]


NIGHTLY = ScheduleSettings(suite="quick", at=parse_cron("0 3 * * *"), splay_seconds=1_800)
TOLD = dataclasses.replace(NIGHTLY, name="nightly", schedule_id="1", known_since=0.0, times_since=0.0)
AGAIN = dataclasses.replace(TOLD, known_since=1.0, times_since=1.0)


@pytest.mark.parametrize("has_started", [True, False], ids=["started-before", "never-started"])
@pytest.mark.parametrize(
    ("waiting", "then"),
    [(NIGHTLY, NIGHTLY), (TOLD, TOLD), (TOLD, AGAIN)],
    ids=["file", "collector", "told-again"],
)
def test_what_waits_is_still_due_when_something_else_is_set_anew(
    machine: Machine, tmp_path: Path, *, waiting: ScheduleSettings, then: ScheduleSettings, has_started: bool
) -> None:
    """Times of day too: neither lost until the next night nor missed, it starts once the machine is idle."""
    suites = agenda(machine, tmp_path, waiting)
    if has_started:
        suites.start(waiting.key)
    machine.clocks.wait(suites.seconds_to_next() + 1)
    machine.reason = "The machine is on battery."
    assert suites.next() is None
    machine.clocks.wait(600)
    suites.use([then, BENCH])
    suites.use([then])
    assert suites.next() is None
    machine.reason = ""
    assert suites.next() == waiting.key
    assert machine.waits() == [("quick", 600, "The machine is on battery.", False)]
    assert suites.next() is None


def test_what_is_made_up_does_not_wait_its_share_again(machine: Machine, tmp_path: Path) -> None:
    """However often something else is set anew meanwhile."""
    suites = agenda(machine, tmp_path, TOLD)
    suites.start(TOLD.key)
    machine.clocks.sleep(48 * HOUR)
    share = suites.seconds_to_next()
    assert 0 < share < 1_800
    for _ in range(2):
        machine.clocks.wait(share / 2 + 1)
        suites.use([TOLD, BENCH])
        suites.use([TOLD])
    assert suites.next() == TOLD.key


SUBJECT = Subject(
    check="torch_ops",
    target="training",
    definition_hash="d1",
    environment_hash="e1",
    system="25C56",
    agent="0.1.0",
)


def admission(machine: Machine, folder: Path) -> Admission:
    return Admission(
        suite="quick",
        subject=lambda check: dataclasses.replace(SUBJECT, check=check),
        quarantine=Quarantine(folder / "quarantine.json"),
        is_by_name=False,
        objection=machine.objection,
        tell=machine.told.append,
        cancelled=threading.Event(),
        look_again_seconds=0.01,
    )


def test_a_run_under_way_waits_for_whoever_begins_to_train(machine: Machine, tmp_path: Path) -> None:
    """The check begins when they have ended."""
    run = admission(machine, tmp_path)
    assert run.reason_against("torch_ops") is None
    machine.reason = "The machine is on battery."
    looks = iter([False, False, True])

    def objection() -> result_pb2.Sentence | None:
        if next(looks, True):
            machine.reason = ""
        return machine.objection()

    assert dataclasses.replace(run, objection=objection).reason_against("torch_ops") is None
    assert [(suite, is_given_up) for suite, _, _, is_given_up in machine.waits()] == [("quick", False)]


def test_a_run_does_not_wait_for_ever(machine: Machine, tmp_path: Path) -> None:
    """The rest of it is left out, each check with the reason, and without waiting once more."""
    run = dataclasses.replace(admission(machine, tmp_path), patience_seconds=0.05, clocks=SYSTEM_CLOCKS)
    machine.reason = "The machine is on battery."
    expected = "Not run, since the machine was in use: The machine is on battery."
    for check in ("torch_ops", "torch_training"):
        reason = run.reason_against(check)
        assert reason is not None
        assert reason.text == expected
    assert [is_given_up for *_, is_given_up in machine.waits()] == [True]


def test_a_cancelled_run_does_not_wait(machine: Machine, tmp_path: Path) -> None:
    """A stop ends the agent within seconds, whatever it waits for."""
    cancelled = threading.Event()
    run = dataclasses.replace(admission(machine, tmp_path), cancelled=cancelled, look_again_seconds=60.0)
    machine.reason = "The machine is on battery."
    threading.Timer(0.2, cancelled.set).start()
    assert run.reason_against("torch_ops") is None


def test_a_check_in_quarantine_is_left_out_of_suites_only(machine: Machine, tmp_path: Path) -> None:
    """Three crashes in a row: told once, and whoever asks for the check by its name gets it."""
    run = admission(machine, tmp_path)
    for _ in range(3):
        assert run.reason_against("torch_ops") is None
        run.note_end("torch_ops", result_pb2.STATUS_CRASH)
    reason = run.reason_against("torch_ops")
    assert reason is not None
    assert reason.text.startswith("Left out until ")
    assert run.reason_against("torch_training") is None
    assert dataclasses.replace(run, is_by_name=True).reason_against("torch_ops") is None
    (change,) = machine.told
    assert isinstance(change, record_pb2.QuarantineChange)
    assert change.is_quarantined
