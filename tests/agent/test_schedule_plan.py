"""What starts at set times: the collector's schedules beside the file's, and what outlives the agent."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
from llmenv.cron import parse_cron
from llmenv.fleet.v1 import agent_service_pb2 as wire
from llmenv.fleet.v1 import machine_pb2, record_pb2, result_pb2
from llmenv_agent.collector_schedules import CollectorSchedules, HeldSchedule
from llmenv_agent.configuration import Configuration, TargetSettings, parse_configuration
from llmenv_agent.errors import StateError, UsageError
from llmenv_agent.repertoire import read_repertoire
from llmenv_agent.schedule import Schedule
from llmenv_agent.schedule_plan import Plan, plan
from llmenv_agent.spool import Spool
from llmenv_agent.work import Work

from .set_clocks import SetClocks

MACHINE = "0197a3de-0000-7000-8000-000000000001"
HOUR = 3_600.0
REPERTOIRE = read_repertoire()
WORDS = {
    number: name.removeprefix("STATE_").lower() for name, number in record_pb2.ScheduleChange.State.items()
}


def scheduled(name: str, number: int = 1, **asked: object) -> wire.Schedule:
    """Every hour, with a splay of half an hour."""
    return wire.Schedule(
        schedule_id=f"019c6120-0000-7000-8000-00000000000{number}",
        name=name,
        run_checks=wire.RunChecks(splay_seconds=1_800.0, **asked),  # type: ignore[arg-type]
        every_seconds=HOUR,
    )


QUICK = scheduled("often", suite="quick")
NAMED = scheduled("basics", 2, checks=["torch_basics"], regardless_of_use=True)
UNKNOWN = scheduled("odd", 3, suite="no-such-suite")
WRONG = scheduled("wrong", 4, checks=["packages"], parameters_json='{"packages": {"nonsense": 1}}')


def planned(text: str, *said: wire.Schedule) -> Plan:
    configuration = parse_configuration(text, path=Path("agent.toml"))
    return plan(configuration, REPERTOIRE, [HeldSchedule(each, 0.0, 0.0) for each in said])


def keys(text: str, *said: wire.Schedule) -> list[str]:
    return sorted(planned(text, *said).planned)


def standings(text: str, *said: wire.Schedule) -> dict[str, str]:
    """State, and the reason where there is one."""
    return {
        each.schedule_name: f"{WORDS[each.state]}: {each.reason}" if each.reason else WORDS[each.state]
        for each in planned(text, *said).standings
    }


def test_both_count_and_the_file_has_precedence_for_its_suites() -> None:
    """Also where it says never; another suite, or checks by name, are the collector's to schedule."""
    assert keys("", QUICK, NAMED) == ["collector:basics", "collector:often"]
    assert keys('[schedule.bench]\nat = "0 3 * * *"', QUICK) == ["bench", "collector:often"]
    for times in ('every = "2h"', 'every = "never"'):
        text = f"[schedule.quick]\n{times}"
        assert standings(text, QUICK, NAMED) == {
            "often": "set_aside: agent.toml has [schedule.quick]",
            "basics": "in_force",
        }
    assert keys('[schedule.quick]\nevery = "2h"', QUICK) == ["quick"]
    assert keys('[schedule.quick]\nevery = "never"', QUICK) == []


def test_the_file_alone_or_the_collector_alone() -> None:
    """As the file says."""
    alone = 'agent.toml has from = "local" under [schedule]'
    local = '[schedule]\nfrom = "local"\n[schedule.bench]\nat = "0 3 * * *"'
    assert keys(local, QUICK) == ["bench"]
    assert standings(local, QUICK) == {"often": f"set_aside: {alone}"}
    assert keys('[schedule]\nfrom = "collector"', QUICK) == ["collector:often"]
    with pytest.raises(UsageError, match=r"schedule\.quick stands beside from"):
        parse_configuration('[schedule]\nfrom = "collector"\n[schedule.quick]', path=Path("agent.toml"))
    with pytest.raises(
        UsageError, match=r"schedule.from is 'cloud'; it must be one of both, local, collector"
    ):
        parse_configuration('[schedule]\nfrom = "cloud"', path=Path("agent.toml"))


def test_where_nothing_is_scheduled_quick_runs_every_day() -> None:
    """Nothing that counts: what is refused schedules nothing."""
    for text in ("", '[schedule]\nfrom = "collector"', '[schedule]\nfrom = "local"'):
        assert keys(text) == ["quick"]
    assert keys("", UNKNOWN) == ["quick"]
    assert keys('[schedule]\nfrom = "local"', QUICK) == ["quick"]


def test_what_cannot_be_run_here_is_refused_with_the_reason() -> None:
    """And the rest counts."""
    found = standings("", UNKNOWN, WRONG, NAMED)
    assert found["odd"].startswith("refused: There is no suite 'no-such-suite'; there are: quick, ")
    assert found["wrong"].startswith("refused: ")
    assert "nonsense" in found["wrong"]
    assert found["basics"] == "in_force"
    assert keys("", UNKNOWN, WRONG, NAMED) == ["collector:basics"]


@pytest.mark.parametrize(
    "every_seconds", [0.0, 59.0, -HOUR, math.inf, math.nan], ids=["none", "short", "negative", "never", "nan"]
)
def test_what_has_no_times_that_this_agent_knows_is_refused(every_seconds: float) -> None:
    """A newer collector may say them in a field of its own; as an interval of 0 it ran all the time."""
    untimed = scheduled("untimed", 5, suite="quick")
    untimed.every_seconds = every_seconds
    assert standings("", untimed, NAMED) == {
        "untimed": "refused: It has no times that this agent knows, neither times of day nor an interval of"
        " a minute or more: a newer agent may know them.",
        "basics": "in_force",
    }
    untimed.at = "0 3 * * *"
    assert standings("", untimed) == {"untimed": "in_force"}


def test_a_start_is_as_the_collector_asked_for_it() -> None:
    """Checks, policy and the schedule that a run names; each start can be cancelled for itself."""
    basics = planned("", NAMED).planned["collector:basics"]
    first, second = basics.request(), basics.request()
    assert [each.name for each in first.suite.definitions] == ["torch_basics"]
    assert (first.schedule_name, first.schedule_id) == ("basics", NAMED.schedule_id)
    assert first.regardless_of_use
    assert first.cancelled is not second.cancelled
    assert planned("").planned["quick"].request().schedule_name == "quick"


def starts(folder: Path, clocks: SetClocks, machine_id: str, since: float) -> Schedule:
    held = HeldSchedule(QUICK, since, since)
    found = plan(Configuration(state_dir=folder), REPERTOIRE, [held])
    settings = [each.settings for each in found.planned.values()]
    return Schedule(settings, path=folder / f"{machine_id}.json", machine_id=machine_id, clocks=clocks.clocks)


def test_a_thousand_machines_that_hear_of_it_at_once_start_over_the_whole_splay(tmp_path: Path) -> None:
    """The first time too; an agent that is restarted meanwhile does not begin its share anew."""
    clocks = SetClocks()
    first = [
        starts(tmp_path, clocks, f"machine {number}", clocks.wall).seconds_to_next()
        for number in range(1_000)
    ]
    assert min(first) < 10
    assert max(first) > 1_790
    by_minute = [sum(60 * minute <= each < 60 * minute + 60 for each in first) for minute in range(30)]
    assert 20 < min(by_minute) <= max(by_minute) < 50
    since, left = clocks.wall, first[0]
    clocks.wait(left / 2)
    assert starts(tmp_path, clocks, "machine 0", since).seconds_to_next() == pytest.approx(left / 2)


def test_another_wording_goes_on_from_the_last_start(tmp_path: Path) -> None:
    """Setting a schedule anew is no reason to run at once."""
    clocks = SetClocks()
    schedule = starts(tmp_path, clocks, "machine 0", clocks.wall)
    clocks.wait(schedule.seconds_to_next())
    assert [each.key for each in schedule.due()] == ["collector:often"]
    schedule.note_start("collector:often")
    again = starts(tmp_path, clocks, "machine 0", clocks.wall)
    assert HOUR <= again.seconds_to_next() <= HOUR + 1_800
    assert not math.isinf(again.next_at("collector:often"))


def nightly(at: str, number: int) -> wire.Schedule:
    said = scheduled("nightly", number, suite="quick")
    said.at, said.every_seconds = at, 0.0
    return said


def told(folder: Path, clocks: SetClocks, *said: wire.Schedule) -> Schedule:
    """The schedule of an agent that starts now, and is told so."""
    schedules = CollectorSchedules(folder / "told.json", machine_id=MACHINE, clocks=clocks.clocks)
    schedules.take(wire.Schedules(schedules=said))
    found = plan(Configuration(state_dir=folder), REPERTOIRE, schedules.held)
    settings = [each.settings for each in found.planned.values()]
    return Schedule(settings, path=folder / "starts.json", machine_id=MACHINE, clocks=clocks.clocks)


def test_a_machine_that_is_off_at_each_time_makes_it_up_in_the_morning(tmp_path: Path) -> None:
    """From the second morning on, though it never started before; another wording of the same times too."""
    clocks = SetClocks()
    night = parse_cron("0 3 * * *").next_after(clocks.wall)
    clocks.sleep(night + 6 * HOUR - clocks.wall)
    first = told(tmp_path, clocks, nightly("0 3 * * *", 5))
    assert first.seconds_to_next() >= 17 * HOUR
    clocks.sleep(24 * HOUR)
    second = told(tmp_path, clocks, nightly("0 3 * * *", 6))
    share = second.seconds_to_next()
    assert 0 < share < 1_800
    clocks.wait(share + 1)
    assert [each.key for each in second.due()] == ["collector:nightly"]


def test_times_that_were_over_when_they_were_said_were_not_missed(tmp_path: Path) -> None:
    """A schedule that ran at night and is moved to nine in the afternoon starts at nine of the next day."""
    clocks = SetClocks()
    schedule = told(tmp_path, clocks, nightly("0 3 * * *", 5))
    clocks.wait(schedule.seconds_to_next() + 1)
    (due,) = schedule.due()
    schedule.note_start(due.key)
    clocks.wait(12 * HOUR)
    nine = parse_cron("0 9 * * *").next_after(clocks.wall)
    moved = told(tmp_path, clocks, nightly("0 9 * * *", 6))
    assert (moved.due(), nine <= moved.next_at(due.key) <= nine + 1_800) == ([], True)
    clocks.wait(HOUR)
    restarted = told(tmp_path, clocks, nightly("0 9 * * *", 6))
    assert restarted.next_at(due.key) == pytest.approx(moved.next_at(due.key))


def test_a_clock_that_was_wrong_when_times_were_said_silences_nothing(tmp_path: Path) -> None:
    """It is put back by years: what is missed from then on is made up, over restarts too."""
    clocks = SetClocks()
    clocks.set_forward(10 * 365 * 24 * HOUR)
    told(tmp_path, clocks, nightly("0 3 * * *", 5))
    clocks.set_forward(-10 * 365 * 24 * HOUR)
    schedule = told(tmp_path, clocks, nightly("0 3 * * *", 5))
    clocks.wait(schedule.seconds_to_next() + 1)
    (due,) = schedule.due()
    schedule.note_start(due.key)
    clocks.sleep(30 * HOUR)
    assert told(tmp_path, clocks, nightly("0 3 * * *", 5)).seconds_to_next() < 1_800


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "collector_schedules.json"


def held(path: Path, machine_id: str = MACHINE) -> CollectorSchedules:
    return CollectorSchedules(path, machine_id=machine_id)


def test_what_the_collector_said_outlives_the_agent(path: Path) -> None:
    """Whole, and only for the machine that it was said to; the same again changes nothing."""
    told = wire.Schedules(schedules=[NAMED, QUICK])
    first = held(path)
    assert first.take(told)
    assert not first.take(told)
    again = held(path)
    assert [each.schedule for each in again.held] == [NAMED, QUICK]
    assert again.held == first.held
    assert not again.take(told)
    assert held(path, "another machine").held == ()
    assert again.take(wire.Schedules())
    assert held(path).held == ()


def test_what_could_not_be_written_does_not_count(path: Path) -> None:
    """It is said in a sentence, and the collector's next word is taken as news."""
    schedules, told = held(path), wire.Schedules(schedules=[QUICK])
    in_the_way = path.with_name(f"{path.name}.part")
    in_the_way.mkdir()
    with pytest.raises(StateError, match=r"collector_schedules\.json cannot be written: .*state_dir"):
        schedules.take(told)
    assert schedules.held == ()
    in_the_way.rmdir()
    assert schedules.take(told)
    assert held(path).held == schedules.held


def test_of_what_is_undecided_the_former_word_stays(path: Path) -> None:
    """The collector could not tell whom it is for."""
    schedules = held(path)
    schedules.take(wire.Schedules(schedules=[NAMED, QUICK]))
    assert schedules.take(wire.Schedules(undecided=["often", "never heard of"]))
    assert [each.schedule for each in schedules.held] == [QUICK]


def test_each_change_is_said_once(path: Path) -> None:
    """Also over restarts; what is gone is said to be removed, and no run that ends late says otherwise."""
    said: list[record_pb2.ScheduleChange] = []
    change = planned("", QUICK).standings
    held(path).say(change, said.append)
    held(path).say(change, said.append)
    assert [WORDS[each.state] for each in said] == ["in_force"]
    refused = record_pb2.ScheduleChange(schedule_id=QUICK.schedule_id, schedule_name="often", state=3)
    schedules = held(path)
    schedules.say([refused], said.append, is_all=False)
    schedules.say([], said.append)
    schedules.say([refused], said.append, is_all=False)
    assert [(each.schedule_name, WORDS[each.state]) for each in said] == [
        ("often", "in_force"),
        ("often", "refused"),
        ("often", "removed"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        json.dumps({"machine_id": MACHINE}),
        json.dumps({"machine_id": MACHINE, "schedules": [1]}),
    ],
    ids=["empty", "cut", "list", "bare", "numbers"],
)
def test_a_damaged_file_counts_as_none(path: Path, content: str) -> None:
    """The collector says it all again with the next stream."""
    path.write_text(content)
    schedules = held(path)
    assert schedules.held == ()
    assert schedules.take(wire.Schedules(schedules=[QUICK]))
    assert [each.schedule for each in held(path).held] == [QUICK]


CRASHING = """
'Does it crash?'

SUITES = ("lab",)
REQUIRES = ()
TIMEOUT_SECONDS = 60
PARAMETERS = {}


def run(probe):
    import os

    os.abort()
"""


def test_a_scheduled_check_that_keeps_crashing_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the schedule names it: nobody sits there who wants it all the same."""
    monkeypatch.setenv("LLMENV_RUN_LOCK", str(tmp_path / "run.lock"))
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "wild.py").write_text(CRASHING.lstrip())
    configuration = Configuration(
        state_dir=tmp_path,
        targets=(TargetSettings(name="plain", python=sys.executable),),
        checks_folders=(tmp_path / "checks",),
    )
    asked = scheduled("named", checks=["wild"], regardless_of_use=True, device="cpu")
    named = HeldSchedule(asked, 0.0, 0.0)
    found = plan(configuration, read_repertoire(configuration.checks_folders), [named])
    spool = Spool(tmp_path / "spool.db", machine_id=MACHINE)
    try:
        work = Work(spool, configuration, read_machine=machine_pb2.Machine)
        for _ in range(4):
            work.execute(found.planned["collector:named"].request())
        records = list(spool.records())
    finally:
        spool.close()
    ends = [each.check_finished.result.status for each in records if each.HasField("check_finished")]
    assert ends == [result_pb2.STATUS_CRASH] * 3 + [result_pb2.STATUS_SKIP]
    runs = [each.run_started.run for each in records if each.HasField("run_started")]
    assert {(run.schedule_name, run.schedule_id) for run in runs} == {("named", named.schedule.schedule_id)}
