"""A schedule of the collector: given to a machine that was away, and kept without the collector."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from .test_fleet_run import Machine, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Fleet

pytestmark = pytest.mark.slow
SET = ("fleet", "schedule", "set", "often", "--check", "patient", "--every", "12h", "--splay", "0s", "--all")
RUNS = """
SELECT schedule_name, schedule_id::VARCHAR AS schedule_id, run_trigger, suite, outcome
FROM runs WHERE schedule_id IS NOT NULL ORDER BY started_at
"""
STATES = "SELECT state, reason FROM machine_schedules ORDER BY said_at"
PATIENCE = 600.0


@pytest.fixture
def machine(fleet: Fleet) -> Iterator[Machine]:
    machine = Machine(fleet)
    yield machine
    machine.end(signal.SIGKILL)


def asked(fleet: Fleet, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(fleet.call("llmenv", *arguments, "--format", "json").stdout)
    return found


def sql(fleet: Fleet, query: str) -> list[dict[str, Any]]:
    return asked(fleet, "sql", query)


def status(machine: Machine) -> list[dict[str, Any]]:
    """What the agent says of each schedule that it has, by name."""
    command = ("status", "--config", str(machine.configuration), "--format", "json")
    found: list[dict[str, Any]] = json.loads(machine.fleet.call("llmenv-agent", *command).stdout)["schedules"]
    return sorted(found, key=lambda row: str(row["name"]))


def states(machine: Machine) -> list[tuple[str, str]]:
    return [(row["name"], row["state"]) for row in status(machine)]


def test_a_machine_goes_by_it_also_without_the_collector(fleet: Fleet, machine: Machine) -> None:
    """Set while it was away; the collector is killed, and the agent too: the next one goes by it alone."""
    (schedule,) = asked(fleet, *SET)
    machine.start()
    wait_for(lambda: len(sql(fleet, RUNS)) == 1, PATIENCE)
    wait_for(lambda: sql(fleet, RUNS)[0]["outcome"] == "completed", PATIENCE)
    assert states(machine) == [("lab", "in_force"), ("often", "in_force")]
    fleet.end_collector(signal.SIGKILL)
    machine.end(signal.SIGKILL)
    (fleet.folder / "agent" / "schedule.json").unlink()  # as if its time had come
    spooled = len(fleet.spooled())
    machine.start()
    wait_for(lambda: len(fleet.spooled()) >= spooled + 8, PATIENCE)
    fleet.start_collector()
    wait_for(lambda: len(sql(fleet, RUNS)) == 2, PATIENCE)
    assert {(row["schedule_name"], row["schedule_id"]) for row in sql(fleet, RUNS)} == {
        ("often", schedule["schedule_id"])
    }
    assert {(row["run_trigger"], row["suite"]) for row in sql(fleet, RUNS)} == {("schedule", "custom")}
    (row,) = asked(fleet, "fleet", "schedule", "list", "often")
    assert (row["state"], row["scheduled_runs"]) == ("in_force", 2)
    fleet.call("llmenv", "fleet", "schedule", "remove", "often")
    wait_for(lambda: sql(fleet, STATES) == [{"state": "removed", "reason": ""}], PATIENCE)
    wait_for(lambda: states(machine) == [("lab", "in_force")], PATIENCE)


def test_the_machines_own_times_have_precedence(fleet: Fleet, machine: Machine) -> None:
    """For a suite that its configuration schedules; what it cannot run is refused, with the reason."""
    for name, suite in (("mine", "lab"), ("odd", "no-such-suite")):
        fleet.call("llmenv", "fleet", "schedule", "set", name, "--suite", suite, "--every", "1h", "--all")
    machine.start()
    (expected,) = [{"state": "set_aside", "reason": "agent.toml has [schedule.lab]"}]
    wait_for(lambda: len(sql(fleet, STATES)) == 2, PATIENCE)
    found = sql(fleet, STATES)
    assert expected in found
    (refused,) = [row for row in found if row["state"] == "refused"]
    assert refused["reason"].startswith("There is no suite 'no-such-suite'")
    assert states(machine) == [("lab", "in_force"), ("mine", "set_aside"), ("odd", "refused")]
    assert sql(fleet, RUNS) == []
