"""Times of day of agent.toml: what is missed since the agent knows them is made up, and nothing before."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from llmenv.cron import parse_cron
from llmenv_agent.configuration import parse_configuration
from llmenv_agent.own_times import FILE_NAME, OwnTimes
from llmenv_agent.repertoire import read_repertoire
from llmenv_agent.schedule import Schedule
from llmenv_agent.schedule_plan import plan
from llmenv_agent.schedule_status import scheduled

from .set_clocks import SetClocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv_agent.schedule_settings import ScheduleSettings

MACHINE = "0197a3de-0000-7000-8000-000000000001"
HOUR, SPLAY = 3_600.0, 600.0
THREE, NINE = "0 3 * * *", "0 9 * * *"
REPERTOIRE = read_repertoire()


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def settings(at: str) -> list[ScheduleSettings]:
    configuration = parse_configuration(f'[schedule.bench]\nat = "{at}"', path=Path("agent.toml"))
    return plan(configuration, REPERTOIRE, []).settings


def agent(folder: Path, clocks: SetClocks, at: str) -> Schedule:
    """What an agent that starts now has."""
    known = OwnTimes(folder / FILE_NAME, clocks=clocks.clocks)
    return Schedule(
        known.take(settings(at)), path=folder / "starts.json", machine_id=MACHINE, clocks=clocks.clocks
    )


def start(schedule: Schedule, clocks: SetClocks) -> None:
    """Whatever comes next."""
    clocks.wait(schedule.seconds_to_next() + 1)
    (due,) = schedule.due()
    schedule.note_start(due.key)


def nine_in_the_morning(clocks: SetClocks) -> None:
    clocks.sleep(parse_cron(NINE).next_after(clocks.wall) - clocks.wall)


def test_a_machine_that_is_off_every_night_makes_it_up_in_the_morning(tmp_path: Path) -> None:
    """From the second morning on, each time, and not at the first, though it never started before."""
    clocks = SetClocks()
    nine_in_the_morning(clocks)
    assert 18 * HOUR <= agent(tmp_path, clocks, THREE).seconds_to_next() <= 18 * HOUR + SPLAY
    for _ in range(3):
        nine_in_the_morning(clocks)
        schedule = agent(tmp_path, clocks, THREE)
        assert 0 < schedule.seconds_to_next() < SPLAY
        start(schedule, clocks)
        assert schedule.seconds_to_next() > 16 * HOUR


def test_times_that_were_over_when_they_were_read_were_not_missed(tmp_path: Path) -> None:
    """A suite that ran at night and is moved to nine in the afternoon starts at nine of the next day."""
    clocks = SetClocks()
    start(agent(tmp_path, clocks, THREE), clocks)
    clocks.wait(12 * HOUR)
    moved = agent(tmp_path, clocks, NINE)
    assert 17 * HOUR < moved.seconds_to_next() < 18 * HOUR + SPLAY
    clocks.wait(HOUR)
    restarted = agent(tmp_path, clocks, NINE)
    assert restarted.next_at("bench") == pytest.approx(moved.next_at("bench"))


def test_the_configuration_is_read_again_and_what_is_due_stays_due(tmp_path: Path) -> None:
    """Also where the clock was put back since: these are the times that it had."""
    clocks = SetClocks()
    nine_in_the_morning(clocks)
    known = OwnTimes(tmp_path / FILE_NAME, clocks=clocks.clocks)
    schedule = Schedule(
        known.take(settings(THREE)), path=tmp_path / "starts.json", machine_id=MACHINE, clocks=clocks.clocks
    )
    clocks.wait(schedule.seconds_to_next() + 1)
    due = schedule.due()
    assert [each.key for each in due] == ["bench"]
    clocks.set_forward(-24 * HOUR)
    schedule.use(known.take(settings(THREE)))
    assert schedule.due() == due


def test_a_clock_that_was_wrong_when_times_were_read_silences_nothing(tmp_path: Path) -> None:
    """It is put back by years: what is missed from the next start of the agent on is made up."""
    clocks = SetClocks()
    clocks.set_forward(10 * 365 * 24 * HOUR)
    agent(tmp_path, clocks, THREE)
    clocks.set_forward(-10 * 365 * 24 * HOUR)
    nine_in_the_morning(clocks)
    assert agent(tmp_path, clocks, THREE).seconds_to_next() >= 18 * HOUR
    nine_in_the_morning(clocks)
    assert agent(tmp_path, clocks, THREE).seconds_to_next() < SPLAY


def test_times_that_were_taken_out_are_new_when_they_come_back(tmp_path: Path) -> None:
    """Nobody wanted them in between."""
    clocks = SetClocks()
    nine_in_the_morning(clocks)
    agent(tmp_path, clocks, THREE)
    agent(tmp_path, clocks, NINE)
    nine_in_the_morning(clocks)
    assert agent(tmp_path, clocks, THREE).seconds_to_next() >= 18 * HOUR


@pytest.mark.parametrize("content", ["", "[1", "{}", '[{"suite": "bench"}]', "7", '[{"at": 1}]'])
def test_a_damaged_file_is_written_anew(tmp_path: Path, content: str) -> None:
    """What was missed before is not made up; what is missed from then on is."""
    clocks = SetClocks()
    nine_in_the_morning(clocks)
    (tmp_path / FILE_NAME).write_text(content, encoding="utf-8")
    agent(tmp_path, clocks, THREE)
    nine_in_the_morning(clocks)
    assert agent(tmp_path, clocks, THREE).seconds_to_next() < SPLAY


def test_where_the_file_cannot_be_written_the_agent_goes_on(tmp_path: Path) -> None:
    """As on a full disk: the times hold, and are known from its next start."""
    clocks = SetClocks()
    nine_in_the_morning(clocks)
    (tmp_path / f"{FILE_NAME}.part").mkdir()
    assert agent(tmp_path, clocks, THREE).seconds_to_next() >= 18 * HOUR


def test_status_says_when_it_is_made_up_and_writes_nothing(tmp_path: Path) -> None:
    """The next start is now, where nothing is to be spread, and not tomorrow night."""
    configuration = parse_configuration(
        f'[agent]\nstate_dir = "{tmp_path}"\n[schedule.bench]\nat = "{THREE}"\nsplay = "0s"',
        path=Path("agent.toml"),
    )
    clocks = SetClocks(time.time() - 24 * HOUR)
    OwnTimes(tmp_path / FILE_NAME, clocks=clocks.clocks).take(plan(configuration, REPERTOIRE, []).settings)
    written = (tmp_path / FILE_NAME).read_bytes()
    (row,) = scheduled(configuration, machine_id=MACHINE)
    assert dt.datetime.fromisoformat(row["next_at"]).timestamp() <= time.time()
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {FILE_NAME: written}
