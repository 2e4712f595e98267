"""When suites are due: intervals and times of day, over sleep, restarts and clocks that are set."""

from __future__ import annotations

import datetime as dt
import math
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from llmenv.cron import parse_cron
from llmenv_agent.errors import StateError
from llmenv_agent.schedule import Schedule, splay_share
from llmenv_agent.schedule_settings import ScheduleSettings

from .set_clocks import SetClocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOUR, DAY = 3_600.0, 86_400.0
HOURLY = ScheduleSettings(suite="quick", every_seconds=HOUR, splay_seconds=600)
NIGHTLY = ScheduleSettings(suite="bench", at=parse_cron("0 3 * * *"), splay_seconds=600)
MACHINE = "0197a3de-0000-7000-8000-000000000001"
LATER = splay_share(MACHINE, NIGHTLY)
EVENING = dt.datetime(2026, 6, 1, 20, 0, tzinfo=dt.UTC).timestamp()
THREE = dt.datetime(2026, 6, 2, 3, 0, tzinfo=dt.UTC).timestamp()


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def scheduled(folder: Path, clocks: SetClocks, *settings: ScheduleSettings) -> Schedule:
    return Schedule(settings, path=folder / "schedule.json", machine_id=MACHINE, clocks=clocks.clocks)


def due(schedule: Schedule) -> list[str]:
    return [each.key for each in schedule.due()]


def test_a_suite_for_commands_alone_is_never_due(tmp_path: Path) -> None:
    """Beside others it does not count, and without others nothing is ever due."""
    clocks = SetClocks()
    never = ScheduleSettings(suite="bench", every_seconds=math.inf)
    alone = scheduled(tmp_path, clocks, never)
    assert (due(alone), alone.seconds_to_next()) == ([], math.inf)
    assert due(scheduled(tmp_path, clocks, HOURLY, never)) == ["quick"]


def run_for(schedule: Schedule, clocks: SetClocks, seconds: float) -> list[float]:
    """Start whatever is due, as the daemon does, for so long awake; the wall clock's times of the starts."""
    starts = []
    end = clocks.awake + seconds
    while clocks.awake < end:
        for each in schedule.due():
            schedule.note_start(each.key)
            starts.append(clocks.wall)
        wait = schedule.seconds_to_next()
        assert wait >= 0
        clocks.wait(min(max(wait, 1.0), 60.0))
    return starts


def test_a_suite_with_an_interval_is_due_at_once_and_then_after_it(tmp_path: Path) -> None:
    """After its interval and the machine's share of the splay."""
    clocks = SetClocks()
    schedule = scheduled(tmp_path, clocks, HOURLY)
    assert due(schedule) == ["quick"]
    schedule.note_start("quick")
    assert due(schedule) == []
    assert HOUR <= schedule.seconds_to_next() <= HOUR + 600
    clocks.wait(schedule.seconds_to_next())
    assert due(schedule) == ["quick"]


def test_a_suite_with_a_time_of_day_waits_for_it(tmp_path: Path) -> None:
    """A new agent does not run the nightly suite in the evening."""
    clocks = SetClocks(EVENING)
    schedule = scheduled(tmp_path, clocks, NIGHTLY)
    assert due(schedule) == []
    assert pytest.approx(schedule.seconds_to_next()) == THREE + LATER - EVENING
    assert [THREE + LATER + day * DAY for day in range(3)] == pytest.approx(
        run_for(schedule, clocks, 3 * DAY), abs=1.5
    )


def test_what_is_due_stays_due_until_it_starts(tmp_path: Path) -> None:
    """A suite that waits for an idle machine is not forgotten, and since when it waits is known."""
    clocks = SetClocks(EVENING)
    schedule = scheduled(tmp_path, clocks, NIGHTLY)
    clocks.wait(schedule.seconds_to_next())
    (first,) = schedule.due()
    assert pytest.approx(first.since) == THREE + LATER
    clocks.wait(HOUR)
    assert [first] == schedule.due()
    schedule.note_start("bench")
    assert schedule.due() == []


def test_what_still_waits_at_its_next_time_is_due_since_that(tmp_path: Path) -> None:
    """One due suite, not two; the new time tells the daemon that the old one is given up."""
    clocks = SetClocks(EVENING)
    schedule = scheduled(tmp_path, clocks, NIGHTLY)
    clocks.wait(schedule.seconds_to_next())
    (first,) = schedule.due()
    clocks.wait(DAY)
    (second,) = schedule.due()
    assert first.since + DAY == pytest.approx(second.since)


def test_a_restart_does_not_run_everything_again(tmp_path: Path) -> None:
    """The last start is remembered over restarts of the agent."""
    clocks = SetClocks()
    scheduled(tmp_path, clocks, HOURLY).note_start("quick")
    clocks.wait(600)
    restarted = scheduled(tmp_path, clocks, HOURLY)
    assert due(restarted) == []
    assert 3_000 <= restarted.seconds_to_next() <= 3_600


@pytest.mark.parametrize("scheduled_suite", [HOURLY, NIGHTLY])
def test_what_was_missed_in_sleep_is_made_up_once(tmp_path: Path, scheduled_suite: ScheduleSettings) -> None:
    """After ten days with the lid closed: one run, and not at the moment of waking."""
    clocks = SetClocks(EVENING)
    schedule = scheduled(tmp_path, clocks, scheduled_suite)
    schedule.note_start(scheduled_suite.suite)
    clocks.sleep(10 * DAY)
    assert due(schedule) == []
    woken = clocks.wall
    starts = run_for(schedule, clocks, 30 * 60)
    assert [woken + splay_share(MACHINE, scheduled_suite)] == pytest.approx(starts, abs=1.5)


def test_what_was_missed_while_the_machine_was_off_is_made_up_once(tmp_path: Path) -> None:
    """Also by an agent that starts later, and spread as at wake: a power cut ends for all at once."""
    clocks = SetClocks(EVENING)
    scheduled(tmp_path, clocks, NIGHTLY).note_start("bench")
    clocks.sleep(3 * DAY)
    schedule = scheduled(tmp_path, clocks, NIGHTLY)
    assert due(schedule) == []
    assert pytest.approx(schedule.seconds_to_next()) == LATER
    assert len(run_for(schedule, clocks, HOUR)) == 1


def test_machines_that_wake_together_do_not_start_together(tmp_path: Path) -> None:
    """A thousand machines spread over the splay: no minute of its ten has three times its share."""
    shares = [splay_share(f"machine {number}", NIGHTLY) for number in range(1_000)]
    minutes = [int(share // 60) for share in shares]
    assert set(range(10)) == set(minutes)
    assert max(minutes.count(minute) for minute in range(10)) < 300


def test_two_suites_of_one_machine_do_not_share_their_moment(tmp_path: Path) -> None:
    """The suite's name counts too."""
    assert splay_share(MACHINE, HOURLY) != splay_share(MACHINE, NIGHTLY)


@pytest.mark.parametrize("seconds", [-10 * 365 * DAY, -DAY, -HOUR, HOUR, DAY, 10 * 365 * DAY])
def test_an_interval_does_not_care_for_the_time_of_day(tmp_path: Path, seconds: float) -> None:
    """A clock that is set changes nothing while the agent runs."""
    clocks = SetClocks()
    schedule = scheduled(tmp_path, clocks, HOURLY)
    schedule.note_start("quick")
    before = schedule.seconds_to_next()
    clocks.set_forward(seconds)
    assert before == pytest.approx(schedule.seconds_to_next())


@pytest.mark.parametrize("minutes", [1, 4, 9])
def test_what_was_missed_is_not_made_up_minutes_before_its_next_time(tmp_path: Path, minutes: int) -> None:
    """A machine that wakes just before three o'clock runs its nightly suite once, at its time."""
    clocks = SetClocks(EVENING)
    schedule = scheduled(tmp_path, clocks, NIGHTLY)
    clocks.sleep(THREE + LATER + 5 * DAY - minutes * 60 - EVENING)
    assert pytest.approx(run_for(schedule, clocks, 12 * HOUR), abs=1.5) == [THREE + LATER + 5 * DAY]


def test_a_clock_put_back_a_little_repeats_nothing(tmp_path: Path) -> None:
    """The night's run is over; three o'clock comes again an hour later, and is left alone."""
    clocks = SetClocks(EVENING)
    schedule = scheduled(tmp_path, clocks, NIGHTLY)
    assert len(run_for(schedule, clocks, 8 * HOUR)) == 1
    clocks.set_forward(-90 * 60)
    assert run_for(schedule, clocks, 12 * HOUR) == []
    assert len(run_for(schedule, clocks, DAY)) == 1


def test_a_clock_put_back_by_years_silences_nothing(tmp_path: Path) -> None:
    """The new time holds at once, in the same process and in the next."""
    clocks = SetClocks(EVENING)
    schedule = scheduled(tmp_path, clocks, NIGHTLY)
    schedule.note_start("bench")
    clocks.set_forward(-5 * 365 * DAY)
    assert len(run_for(schedule, clocks, 2 * DAY)) == 2
    clocks.set_forward(-365 * DAY)
    restarted = scheduled(tmp_path, clocks, NIGHTLY)
    assert len(run_for(restarted, clocks, 2 * DAY)) == 2


def test_a_clock_put_back_by_hours_shows_the_new_time(tmp_path: Path) -> None:
    """Five hours back after the nightly start: three o'clock comes again, also once it has come near."""
    clocks = SetClocks(EVENING)
    schedule = scheduled(tmp_path, clocks, NIGHTLY)
    run_for(schedule, clocks, THREE + LATER + HOUR - EVENING)
    clocks.set_forward(-5 * HOUR)
    assert run_for(schedule, clocks, 2 * HOUR) == []
    assert pytest.approx(run_for(schedule, clocks, 6 * HOUR), abs=1.5) == [THREE + LATER]


def test_a_clock_put_back_is_known_to_the_next_agent(tmp_path: Path) -> None:
    """A day back after the nightly start: an agent that starts anew an hour before it skips no night."""
    clocks = SetClocks(EVENING)
    schedule = scheduled(tmp_path, clocks, NIGHTLY)
    run_for(schedule, clocks, THREE + LATER + HOUR - EVENING)
    clocks.set_forward(-DAY)
    assert run_for(schedule, clocks, 22 * HOUR) == []
    restarted = scheduled(tmp_path, clocks, NIGHTLY)
    assert pytest.approx(run_for(restarted, clocks, 12 * HOUR), abs=1.5) == [THREE + LATER]


def test_who_only_looks_at_a_clock_that_was_put_back_writes_nothing(tmp_path: Path) -> None:
    """`status` asks the same object when the next start is."""
    clocks = SetClocks(EVENING)
    scheduled(tmp_path, clocks, NIGHTLY).note_start(NIGHTLY.key)
    written = (tmp_path / "schedule.json").read_bytes()
    clocks.set_forward(-DAY)
    assert scheduled(tmp_path, clocks, NIGHTLY).next_at(NIGHTLY.key) < EVENING
    assert written == (tmp_path / "schedule.json").read_bytes()


def test_a_clock_put_back_on_a_full_disk_counts_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it is known to the next agent is a comfort: the one that runs goes on."""
    clocks = SetClocks(EVENING)
    schedule = scheduled(tmp_path, clocks, NIGHTLY)
    schedule.note_start(NIGHTLY.key)

    def full(*_arguments: object) -> None:
        raise StateError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("llmenv_agent.state_file.write", full)
        clocks.set_forward(-DAY)
        assert schedule.due() == []
        assert 0 < schedule.seconds_to_next() < DAY


def test_a_clock_that_starts_wrong_and_is_corrected_repeats_nothing(tmp_path: Path) -> None:
    """A Mac that boots in 2001 and asks the time a minute later runs what it would have run anyway."""
    clocks = SetClocks(EVENING)
    scheduled(tmp_path, clocks, NIGHTLY).note_start("bench")
    clocks.set_forward(-25 * 365 * DAY)
    schedule = scheduled(tmp_path, clocks, NIGHTLY)
    assert run_for(schedule, clocks, 60) == []
    clocks.set_forward(25 * 365 * DAY)
    starts = run_for(schedule, clocks, DAY)
    assert pytest.approx(starts, abs=1.5) == [THREE + LATER]


def test_a_clock_set_forward_makes_up_once(tmp_path: Path) -> None:
    """A year passed over is one run, not 365."""
    clocks = SetClocks(EVENING)
    schedule = scheduled(tmp_path, clocks, NIGHTLY)
    clocks.set_forward(365 * DAY)
    assert len(run_for(schedule, clocks, 4 * HOUR)) == 1


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["wait", "sleep", "set_forward"]),
            st.floats(min_value=-30 * DAY, max_value=30 * DAY),
        ),
        max_size=8,
    )
)
# Woken after a fortnight, minutes before its time.
@example(steps=[("wait", 24_887.0), ("wait", 1_381_261.0)])
# Made up at three o'clock, then put back by four hours.
@example(steps=[("wait", 25_727.0), ("wait", 2_504_021.0), ("set_forward", -14_835.0)])
def test_no_clock_makes_a_flood_or_a_silence(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, float]]
) -> None:
    """Whatever is done to the clocks: at most one start at once, and a start within a day and the splay."""
    clocks = SetClocks(EVENING)
    schedule = scheduled(tmp_path_factory.mktemp("schedule"), clocks, NIGHTLY)
    for what, seconds in steps:
        getattr(clocks, what)(seconds if what == "set_forward" else abs(seconds))
        assert schedule.seconds_to_next() >= 0
        assert len(run_for(schedule, clocks, NIGHTLY.splay_seconds)) <= 1
    assert 1 <= len(run_for(schedule, clocks, DAY + 4 * HOUR)) <= 2


def test_a_damaged_memory_runs_once_too_often(tmp_path: Path) -> None:
    """The milder of two errors."""
    (tmp_path / "schedule.json").write_text("[1")
    assert due(scheduled(tmp_path, SetClocks(), HOURLY)) == ["quick"]
