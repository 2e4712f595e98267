"""When suites are due."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_agent.configuration import ScheduleSettings
from llmenv_agent.schedule import Schedule

if TYPE_CHECKING:
    from pathlib import Path

HOURLY = ScheduleSettings(suite="quick", every_seconds=3_600, splay_seconds=600)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_suite_that_never_ran_is_due_at_once(tmp_path: Path) -> None:
    """Then it is due again after its interval and at most its splay."""
    clock = Clock()
    schedule = Schedule([HOURLY], path=tmp_path / "schedule.json", clock=clock)
    assert schedule.due() == ["quick"]
    schedule.note_start("quick")
    assert schedule.due() == []
    assert 3_600 <= schedule.seconds_to_next() <= 4_200
    clock.now += 4_201
    assert schedule.due() == ["quick"]


def test_a_restart_does_not_run_everything_again(tmp_path: Path) -> None:
    """The last start is remembered over restarts of the agent."""
    clock = Clock()
    Schedule([HOURLY], path=tmp_path / "schedule.json", clock=clock).note_start("quick")
    clock.now += 600
    restarted = Schedule([HOURLY], path=tmp_path / "schedule.json", clock=clock)
    assert restarted.due() == []
    assert 3_000 <= restarted.seconds_to_next() <= 3_600


def test_a_clock_that_was_set_back_does_not_silence_a_suite(tmp_path: Path) -> None:
    """A start that lies in the future is not believed."""
    clock = Clock()
    Schedule([HOURLY], path=tmp_path / "schedule.json", clock=clock).note_start("quick")
    clock.now -= 86_400
    assert Schedule([HOURLY], path=tmp_path / "schedule.json", clock=clock).due() == ["quick"]


def test_a_damaged_memory_runs_once_too_often(tmp_path: Path) -> None:
    """The milder of two errors."""
    (tmp_path / "schedule.json").write_text("[1")
    assert Schedule([HOURLY], path=tmp_path / "schedule.json", clock=Clock()).due() == ["quick"]
