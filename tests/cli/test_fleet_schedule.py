"""Schedules at an admin's terminal: what is asked, said and listed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from llmenv.fleet.v1 import agent_service_pb2 as wire
from llmenv.fleet.v1 import fleet_service_pb2 as messages
from llmenv.fleet.v1.record_pb2 import ScheduleChange

if TYPE_CHECKING:
    from collections.abc import Callable

FINE, USAGE = 0, 2
STUDIO, AIR, MINI = (f"019c6120-0000-7000-8000-00000000000{number}" for number in (1, 2, 3))
LOCAL = 'agent.toml has from = "local" under [schedule]'


def machine(machine_id: str, hostname: str, state: Any = 0, **more: Any) -> messages.ScheduledMachine:
    shown = messages.ScheduledMachine(machine_id=machine_id, hostname=hostname, state=state, **more)
    if state:
        shown.said_at.FromJsonString("2026-02-15T16:20:00Z")
    if shown.runs:
        shown.last_run_id = "019c6120-0000-7000-8000-0000000000aa"
        shown.last_run_at.FromJsonString("2026-02-16T03:04:00Z")
    return shown


def schedules() -> list[messages.FleetSchedule]:
    """One by times of day on three machines, one by an interval that nobody can tell whom it is for."""
    nightly = messages.FleetSchedule(
        schedule=wire.Schedule(
            schedule_id="019c6120-0000-7000-8000-00000000005c",
            name="nightly",
            run_checks={"suite": "bench", "splay_seconds": 1800.0},
            at="0 3 * * 1-5",
        ),
        selection={"machines": [STUDIO, AIR, MINI], "labels": ["room=b12"]},
        set_by="laptop",
        machines=[
            machine(AIR, "air-7"),
            machine(MINI, "mini-1", ScheduleChange.STATE_SET_ASIDE, reason=LOCAL, is_connected=True),
            machine(STUDIO, "studio-3", ScheduleChange.STATE_IN_FORCE, runs=3, is_connected=True),
        ],
    )
    often = messages.FleetSchedule(
        schedule=wire.Schedule(
            schedule_id="019c6120-0000-7000-8000-00000000005d",
            name="often",
            run_checks={"checks": ["torch_basics", "packages"], "splay_seconds": 600.0},
            every_seconds=43_200,
        ),
        selection={"where": "os_version >= '26'"},
        set_by="laptop",
        trouble="The condition cannot be used.",
    )
    for one in (nightly, often):
        one.set_at.FromJsonString("2026-02-14T10:00:00Z")
    return [nightly, often]


@pytest.fixture
def servicer(logged_in: Any) -> Any:
    logged_in.servicer.schedules = schedules()
    return logged_in.servicer


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("output_format", ["table", "md"])
@pytest.mark.parametrize("name", ["", "nightly"], ids=["all", "one"])
def test_listings_for_people(
    llmenv: Callable[..., Any], golden: Any, servicer: Any, *, name: str, output_format: str, language: str
) -> None:
    """What runs when and for whom; of one, what each machine makes of it; in both languages."""
    names = [name] if name else []
    listed = llmenv("fleet", "schedule", "list", *names, "--format", output_format, "--lang", language)
    assert listed.out == golden(name=f"list-{name or 'all'}-{output_format}-{language}")
    assert ("often" in listed.err) == (not name)


@pytest.mark.parametrize("output_format", ["json", "csv"])
@pytest.mark.parametrize("name", ["", "nightly"], ids=["all", "one"])
def test_listings_for_programs(
    llmenv: Callable[..., Any], golden: Any, servicer: Any, *, name: str, output_format: str
) -> None:
    """Whole ids and the words of the contract, whatever the language."""
    names = [name] if name else []
    listed = llmenv("fleet", "schedule", "list", *names, "--format", output_format, "--lang", "zh")
    assert listed.out == golden(name=f"list-{name or 'all'}-{output_format}")


def test_what_is_set_is_asked_as_it_was_said(llmenv: Callable[..., Any], servicer: Any) -> None:
    """Times, splay, what to run and which machines; the talk says for how many it is."""
    command = ("fleet", "schedule", "set", "nightly", "--suite", "bench", "--at", "0 3 * * 1-5")
    done = llmenv(
        *command, "--splay", "30m", "--label", "room=b12", "--machine", "studio-3", "--format", "json"
    )
    (request,) = [each for each in servicer.requests if isinstance(each, messages.SetScheduleRequest)]
    assert (request.schedule.name, request.schedule.at, request.schedule.every_seconds) == (
        "nightly",
        "0 3 * * 1-5",
        0,
    )
    assert request.schedule.run_checks == wire.RunChecks(suite="bench", splay_seconds=1800)
    assert request.selection == messages.MachineSelection(machines=["studio-3"], labels=["room=b12"])
    assert "Machines that it is for now: 3" in done.err
    (row,) = json.loads(done.out)
    assert (row["schedule_name"], row["at"], row["machine_states"]) == (
        "nightly",
        "0 3 * * 1-5",
        "in_force 1, not_said 1, set_aside 1",
    )


def test_a_dry_run_lists_the_machines(llmenv: Callable[..., Any], servicer: Any) -> None:
    """With checks by name, an interval and the splay that holds where none is said."""
    command = ("fleet", "schedule", "set", "often", "--check", "packages", "--every", "12h", "--all")
    done = llmenv(*command, "--set", "packages.x=1", "--dry-run", "--format", "json")
    (request,) = [each for each in servicer.requests if isinstance(each, messages.SetScheduleRequest)]
    assert request.is_dry_run
    assert (request.schedule.every_seconds, request.schedule.run_checks.splay_seconds) == (43_200, 600)
    assert json.loads(request.schedule.run_checks.parameters_json) == {"packages": {"x": 1}}
    assert request.selection.all
    assert [row["hostname"] for row in json.loads(done.out)] == ["air-7", "mini-1", "studio-3"]
    assert "Nothing was kept" in done.err


def test_it_is_removed_by_its_name(llmenv: Callable[..., Any], servicer: Any) -> None:
    """And said for how many machines it was."""
    done = llmenv("fleet", "schedule", "remove", "nightly")
    assert (done.code, done.out) == (FINE, "")
    assert done.err == "Schedule nightly is removed. Machines that it was for: 3.\n"


def test_a_run_now_is_splayed_where_that_is_asked(llmenv: Callable[..., Any], servicer: Any) -> None:
    """The time goes with the command; without it nobody waits."""
    servicer.commands = [messages.IssuedCommand(batch_id="b", hostname="air-7")]
    for options in ((), ("--splay", "30m"), ("--splay", "0s")):
        llmenv("fleet", "run", "--suite", "quick", "--all", "--no-wait", *options)
    requests = [each for each in servicer.requests if isinstance(each, messages.IssueCommandRequest)]
    assert [each.run_checks.splay_seconds for each in requests] == [0, 1800, 0]
    assert llmenv("fleet", "run", "--suite", "quick", "--all", "--splay", "soon").code == USAGE
